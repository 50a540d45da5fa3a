"""Signs claims with PyJWT: sign.py ALGORITHM KEY_FILE [KID], one JSON object a line in, one token a line out."""
import json
import sys

import jwt

algorithm, key_file, *kid = sys.argv[1:]
with open(key_file, "rb") as file:
    # A line feed behind a secret is no part of it.
    key = file.read().strip()
headers = {"kid": kid[0]} if kid else None
for line in sys.stdin:
    print(jwt.encode(json.loads(line), key, algorithm=algorithm, headers=headers))
