//! [`serializer_unsupported!`]: the methods of a [`serde::Serializer`] that take nothing of their kind.

#[doc(hidden)]
pub use serde;

/// Inside `impl serde::Serializer`: for every kind of value named, the method that answers `Err(err)`, and the associated
/// type that goes with it. The kinds are those of [`serde::Serializer`]'s methods without their `serialize_`.
///
/// ```
/// # use serde::{Serialize, Serializer, de::value::Error, ser::Error as _};
/// struct OnlyText;
///
/// impl Serializer for OnlyText {
///     type Ok = String;
///     type Error = Error;
///
///     fn serialize_str(self, text: &str) -> Result<String, Error> {
///         Ok(text.to_owned())
///     }
///
///     serde_serializer_quick_unsupported::serializer_unsupported! {
///         err = (Error::custom("not a text"));
///         bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes none some unit unit_struct unit_variant
///         newtype_struct newtype_variant seq tuple tuple_struct tuple_variant map struct struct_variant
///     }
/// }
///
/// assert_eq!("text".serialize(OnlyText).unwrap(), "text");
/// assert_eq!(7.serialize(OnlyText).unwrap_err().to_string(), "not a text");
/// assert_eq!([1, 2].as_slice().serialize(OnlyText).unwrap_err().to_string(), "not a text");
/// ```
#[macro_export]
macro_rules! serializer_unsupported {
    (err = ($err:expr); $($kind:tt)*) => {
        $($crate::refuse! { $kind, $err })*
    };
}

/// One method.
#[doc(hidden)]
#[macro_export]
macro_rules! refuse {
    (bool, $err:expr) => {
        fn serialize_bool(self, _: bool) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (i8, $err:expr) => {
        fn serialize_i8(self, _: i8) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (i16, $err:expr) => {
        fn serialize_i16(self, _: i16) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (i32, $err:expr) => {
        fn serialize_i32(self, _: i32) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (i64, $err:expr) => {
        fn serialize_i64(self, _: i64) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (i128, $err:expr) => {
        fn serialize_i128(self, _: i128) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (u8, $err:expr) => {
        fn serialize_u8(self, _: u8) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (u16, $err:expr) => {
        fn serialize_u16(self, _: u16) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (u32, $err:expr) => {
        fn serialize_u32(self, _: u32) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (u64, $err:expr) => {
        fn serialize_u64(self, _: u64) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (u128, $err:expr) => {
        fn serialize_u128(self, _: u128) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (f32, $err:expr) => {
        fn serialize_f32(self, _: f32) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (f64, $err:expr) => {
        fn serialize_f64(self, _: f64) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (char, $err:expr) => {
        fn serialize_char(self, _: char) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (str, $err:expr) => {
        fn serialize_str(self, _: &str) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (bytes, $err:expr) => {
        fn serialize_bytes(self, _: &[u8]) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (none, $err:expr) => {
        fn serialize_none(self) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (some, $err:expr) => {
        fn serialize_some<T: ?Sized + $crate::serde::Serialize>(
            self,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (unit, $err:expr) => {
        fn serialize_unit(self) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (unit_struct, $err:expr) => {
        fn serialize_unit_struct(self, _: &'static str) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (unit_variant, $err:expr) => {
        fn serialize_unit_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (newtype_struct, $err:expr) => {
        fn serialize_newtype_struct<T: ?Sized + $crate::serde::Serialize>(
            self,
            _: &'static str,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (newtype_variant, $err:expr) => {
        fn serialize_newtype_variant<T: ?Sized + $crate::serde::Serialize>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (seq, $err:expr) => {
        type SerializeSeq = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_seq(
            self,
            _: ::core::option::Option<usize>,
        ) -> ::core::result::Result<Self::SerializeSeq, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (tuple, $err:expr) => {
        type SerializeTuple = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_tuple(self, _: usize) -> ::core::result::Result<Self::SerializeTuple, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (tuple_struct, $err:expr) => {
        type SerializeTupleStruct = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_tuple_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> ::core::result::Result<Self::SerializeTupleStruct, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (tuple_variant, $err:expr) => {
        type SerializeTupleVariant = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> ::core::result::Result<Self::SerializeTupleVariant, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (map, $err:expr) => {
        type SerializeMap = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_map(
            self,
            _: ::core::option::Option<usize>,
        ) -> ::core::result::Result<Self::SerializeMap, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (struct, $err:expr) => {
        type SerializeStruct = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> ::core::result::Result<Self::SerializeStruct, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
    (struct_variant, $err:expr) => {
        type SerializeStructVariant = $crate::serde::ser::Impossible<Self::Ok, Self::Error>;
        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> ::core::result::Result<Self::SerializeStructVariant, Self::Error> {
            ::core::result::Result::Err($err)
        }
    };
}
