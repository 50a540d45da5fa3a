"""A public key as JWK, by PyJWT: jwk.py ALGORITHM PUBLIC_KEY_FILE KID."""
import json
import sys

from jwt.algorithms import get_default_algorithms

algorithm, key_file, kid = sys.argv[1:]
algorithms = get_default_algorithms()[algorithm]
with open(key_file, "rb") as file:
    key = algorithms.prepare_key(file.read())
print(json.dumps({**json.loads(algorithms.to_jwk(key)), "kid": kid, "use": "sig", "alg": algorithm}))
