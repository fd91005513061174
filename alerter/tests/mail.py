"""A mail server with STARTTLS on one port and TLS from the first byte on another, both with authentication.

    mail.py CERTIFICATE KEY

Prints its ports, then each message it takes, as JSON lines. Recipients choose what happens: `later@` is refused for
now, `nobody@` for good, `hang@` is never answered, `babble@` in words that are no answer, a message to `spam@` is refused,
and one to `drop@` is taken and the connection dropped.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ttf", b"s3cret")
    # Not handled: the server itself says 535.
    return AuthResult(success=good, handled=False, auth_data=data.login if good else None)


class Handler:
    def __init__(self, how):
        self.how = how

    async def handle_RCPT(self, server, session, envelope, address, options):
        who = address.split("@")[0]
        if who == "later":
            return "452 4.2.2 the mailbox is full"
        if who == "nobody":
            return "550 5.1.1 no such mailbox"
        if who == "hang":
            await asyncio.sleep(3600)
        if who == "babble":
            return "what is this?"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("spam@"):
            return "554 5.7.1 no, said to team@example.com"
        longest = max(len(line) for line in envelope.content.split(b"\r\n"))
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
        said = {
            "how": self.how,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "login": session.authenticated,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "parts": parts,
            "defects": [repr(defect) for defect in message.defects],
            "longest_line": longest,
        }
        print(json.dumps(said), flush=True)
        if envelope.rcpt_tos[0].startswith("drop@"):
            server.transport.abort()
            return "421 4.3.0 dropped"
        return "250 2.0.0 ok"


async def main():
    certificate, key = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    common = {"authenticator": authenticate, "auth_required": True, "hostname": "localhost", "loop": loop}

    def starttls():
        return SMTP(Handler("starttls"), tls_context=context, require_starttls=True, **common)

    def tls():
        # The connection is protected already.
        return SMTP(Handler("tls"), auth_require_tls=False, **common)

    first = await loop.create_server(starttls, "127.0.0.1", 0)
    second = await loop.create_server(tls, "127.0.0.1", 0, ssl=context)
    ports = [server.sockets[0].getsockname()[1] for server in (first, second)]
    print(json.dumps({"starttls": ports[0], "tls": ports[1]}), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
