"""Puts something into an Azure Blob Storage: a container, or an object from a file."""

import base64
import hashlib
import hmac
import sys
import urllib.request
from email.utils import formatdate
from urllib.parse import urlsplit

account, key, address = sys.argv[1:4]
body = open(sys.argv[4], "rb").read() if len(sys.argv) > 4 else b""
parts = urlsplit(address)
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
resource = f"/{account}{parts.path}"
if parts.query:
    resource += "\n" + parts.query.replace("=", ":")
else:
    headers["x-ms-blob-type"] = "BlockBlob"
kind = "application/octet-stream"
lines = ["PUT", "", "", str(len(body) or ""), "", kind, "", "", "", "", "", ""]
lines += [f"{name}:{headers[name]}" for name in sorted(headers)]
signed = "\n".join(lines) + "\n" + resource
digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
headers["Content-Type"] = kind
urllib.request.urlopen(urllib.request.Request(address, data=body, method="PUT", headers=headers)).read()
