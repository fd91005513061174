//! Kafka's default partitioner (`murmur2_random`): the same key goes to the same partition for every client.
