"""A mail server of others' making, at a loopback port, which puts what it takes into a Maildir.

    mail_server.py PORT MAILDIR [--certificate FILE --key FILE [--tls]] [--login USER PASSWORD]
                   [--refuse ADDRESS]

It says "ready" once it listens, and ends with its standard input.
"""

import argparse
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult, LoginPassword

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("maildir")
parser.add_argument("--certificate")
parser.add_argument("--key")
parser.add_argument("--tls", action="store_true")
parser.add_argument("--login", nargs=2)
parser.add_argument("--refuse", default="")
given = parser.parse_args()


class Post(Mailbox):
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == given.refuse:
            # As servers do: with the address in it.
            return f"550 5.1.1 <{address}>: nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def is_known(server, session, envelope, mechanism, data):
    known = LoginPassword(*(word.encode() for word in given.login))
    # Not handled: the library gives the answer.
    return AuthResult(success=data == known, handled=False)


more = {}
if given.certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.certificate, given.key)
    if given.tls:
        more["ssl_context"] = context
    else:
        more.update(tls_context=context, require_starttls=True)
if given.login:
    more.update(authenticator=is_known, auth_required=True)
    # What came in by TLS from the first byte does not count as TLS for the library.
    more["auth_require_tls"] = not given.tls
controller = Controller(Post(given.maildir), hostname="127.0.0.1", port=given.port, **more)
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
