"""An FTP server for tests: a folder, for the user `shop`, with TLS or without, until standard input ends.

A line `BYTES TIMES` on standard input makes it break the connections of a download whenever so many bytes
were sent, so often; the answer is how often it did since the last line.
"""

import sys
import threading

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import ThreadedFTPServer

port, folder, password, certificate = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


class Plan:
    every, left, times, done = 0, 0, 0, 0


class Breaking:
    def send(self, data):
        if Plan.times:
            Plan.left -= len(data)
            if Plan.left <= 0:
                Plan.left = Plan.every
                Plan.times -= 1
                Plan.done += 1
                self.cmd_channel.close()
                return 0
        return super().send(data)


class PlainData(Breaking, DTPHandler):
    pass


class SecureData(Breaking, TLS_DTPHandler):
    pass


authorizer = DummyAuthorizer()
authorizer.add_user("shop", password, folder, perm="elradfmwMT")
if certificate:
    handler = type("Handler", (TLS_FTPHandler,), {
        "certfile": certificate, "tls_control_required": True, "tls_data_required": True, "dtp_handler": SecureData})
else:
    handler = type("Handler", (FTPHandler,), {"dtp_handler": PlainData})
handler.authorizer = authorizer
handler.use_sendfile = False
server = ThreadedFTPServer(("127.0.0.1", port), handler)
server.max_cons_per_ip = 3
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    print(Plan.done, flush=True)
    Plan.every, Plan.times = map(int, line.split())
    Plan.left, Plan.done = Plan.every, 0
