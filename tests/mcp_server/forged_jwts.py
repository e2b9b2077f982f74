"""JWTs that must not open a server: signed by others, or made for others, or for nobody."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.mcp_server.issuing import Issuer, encoded, jwt_of, new_key, signer, unsigned


def wrong_claims(issuer: Issuer) -> dict[str, Any]:
    """Claims that are not good, however well they are signed."""
    now = int(time.time())
    good = issuer.claims
    url = issuer.url
    audience = good()["aud"]
    return {
        "expired": good(exp=now - 60, iat=now - 600),
        "expired by more than the leeway": good(exp=now - 7, iat=now - 600),
        "expired before 1970": good(exp=-1),
        "not yet valid": good(nbf=now + 3600),
        "issued in the future": good(iat=now + 3600),
        "without exp": good(exp=None),
        "without aud": good(aud=None),
        "without iss": good(iss=None),
        "without sub": good(None),
        "exp in words": good(exp="tomorrow"),
        "exp as a list": good(exp=[now + 600]),
        "exp beyond numbers": json.dumps(good(exp=0)).replace('"exp": 0', '"exp": 1e400').encode(),
        "exp beyond floats": good(exp=10**400),
        "exp not a number": json.dumps(good(exp=0)).replace('"exp": 0', '"exp": NaN').encode(),
        "a foreign audience": good(aud="https://other.example.org/mcp"),
        "a foreign audience in a list": good(aud=["https://other.example.org/mcp", "account"]),
        "an audience that begins alike": good(aud=f"{audience}/other"),
        "an audience that ours begins like": good(aud=audience[:-4]),
        "an audience with a slash": good(aud=f"{audience}/"),
        "an audience in capitals": good(aud=audience.upper()),
        "no audience in a list": good(aud=[]),
        "an empty audience": good(aud=""),
        "an audience of many": good(aud=[[audience]]),
        "an audience as an object": good(aud={audience: True}),
        "an audience as a number": good(aud=1),
        "a pattern as audience": good(aud="*"),
        "an ID token of another client": good(aud="client-7", azp=audience, nonce="n", at_hash="h"),
        "our audience in another place": good(aud="client-7", azp=audience, client_id=audience, resource=audience),
        "a foreign issuer": good(iss="https://issuer.evil.org"),
        "an issuer with a slash": good(iss=f"{url}/"),
        "an issuer that goes on": good(iss=f"{url}.evil.org"),
        "an issuer with a path": good(iss=f"{url}/evil"),
        "an issuer in capitals": good(iss=url.upper()),
        "issuers in a list": good(iss=[url]),
        "an empty issuer": good(iss=""),
        "an issuer by another name": good(iss=url.replace("127.0.0.1", "localhost")),
        "an unknown agent": good("mallory"),
        "an agent's name in another case": good("Alice"),
        "an agent with a blank": good(" alice"),
        "an agent with a line end": good("alice\n"),
        "an agent with a NUL": good("alice\0"),
        "an agent and more": good("alice,bob"),
        "SQL as agent": good("alice' OR '1'='1"),
        "a pattern as agent": good("al%"),
        "an invisible sign": good("alice\u200b"),
        "a surrogate": good("alice\ud800"),
        "an empty agent": good(""),
        "a number as agent": good(1),
        "a list of agents": good(["alice"]),
        "an object as agent": good({"eq": "alice"}),
        "an agent that is true": good(True),
        "another claim with the agent": good("mallory", agent="alice", preferred_username="alice", email="alice"),
        "no object": b'["alice"]',
        "null": b"null",
        "no JSON": b"alice",
        "nothing": b"",
        "a JWT": issuer.token("rs256").encode(),
        "deep": b"[" * 6_000 + b"]" * 6_000,
    }


def forged(issuer: Issuer) -> dict[str, str]:
    """JWTs that the issuer did not make, or not like this."""
    mine = new_key("RS256")
    rs, es, ed = (issuer.keys[kid][1] for kid in ("rs256", "es256", "eddsa"))
    pem = rs.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = rs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = rs.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    jwk = issuer.public("rs256")
    modulus = rs.public_key().public_numbers().n.to_bytes(256)
    my_jwk = jwk | {"n": encoded(mine.public_key().public_numbers().n.to_bytes(256))}
    claims = issuer.claims()
    header = {"typ": "JWT", "alg": "RS256", "kid": "rs256"}
    by_me = signer("RS256", mine)
    good = issuer.token("rs256")
    first, second, third = good.split(".")
    evil = f"{issuer.url}/evil/keys.json"
    spread = encoded(claims | {"sub": "bob"})
    made = {
        **{
            f"alg {alg!r}, {how}": jwt_of(header | {"alg": alg}, claims, sign)
            for alg in ("none", "None", "NONE", "nOnE", "", "null", None, 0, [], ["RS256"], "RS256 ", "rs256", "HS256")
            for how, sign in (("unsigned", unsigned), ("signed", signer("RS256", rs)))
        },
        "alg none without a kid": jwt_of({"alg": "none"}, claims, unsigned),
        "no alg": jwt_of({"kid": "rs256"}, claims, signer("RS256", rs)),
        **{
            f"{alg} with {name}": jwt_of(header | {"alg": alg}, claims, signer(alg, secret))
            for alg in ("HS256", "HS384", "HS512")
            for name, secret in {
                "the public key as PEM": pem,
                "the public key as PEM without its last line end": pem.rstrip(),
                "the public key as PKCS 1": pkcs1,
                "the public key as DER": der,
                "the public key as JWK": json.dumps(jwk).encode(),
                "the modulus": modulus,
                "the modulus as text": jwk["n"].encode(),
                "nothing": b"",
                "the kid": b"rs256",
            }.items()
        },
        "HS256 with the public key and no kid": jwt_of({"alg": "HS256"}, claims, signer("HS256", pem)),
        "HS256 with a public secret": jwt_of(
            {"alg": "HS256", "kid": "shared"}, claims, signer("HS256", b"published by mistake, 32 bytes")
        ),
        "RS256 with a public secret": jwt_of({"alg": "RS256", "kid": "shared"}, claims, by_me),
        "another key": jwt_of(header, claims, by_me),
        "another key without a kid": jwt_of({"alg": "RS256"}, claims, by_me),
        "the right key without a kid": jwt_of({"alg": "RS256"}, claims, signer("RS256", rs)),
        **{
            f"kid {kid!r:.40}": jwt_of(header | {"kid": kid}, claims, by_me)
            for kid in (
                "unknown",
                "",
                "RS256",
                "rs256\0",
                " rs256",
                "../../../../dev/null",
                "/etc/passwd",
                "rs256' OR '1'='1",
                "x' UNION SELECT 'secret",
                evil,
                "file:///etc/passwd",
                "${jndi:ldap://evil.org}",
                "k" * 5_000,
                "\N{KELVIN SIGN}",
                1,
                None,
                ["rs256"],
                {"kid": "rs256"},
                True,
            )
        },
        "kid of nothing with an empty secret": jwt_of(
            {"alg": "HS256", "kid": "../../../../dev/null"}, claims, signer("HS256", b"")
        ),
        "jku": jwt_of(header | {"jku": evil, "kid": "evil"}, claims, by_me),
        "jku with a known kid": jwt_of(header | {"jku": evil}, claims, by_me),
        "x5u": jwt_of(header | {"x5u": f"{issuer.url}/evil/cert.pem"}, claims, by_me),
        "jwk": jwt_of(header | {"jwk": my_jwk}, claims, by_me),
        "jwk with another kid": jwt_of(header | {"jwk": my_jwk | {"kid": "evil"}, "kid": "evil"}, claims, by_me),
        "jwk without a kid": jwt_of({"alg": "RS256", "jwk": my_jwk}, claims, by_me),
        "x5c": jwt_of(header | {"x5c": [base64.b64encode(der).decode()]}, claims, by_me),
        "crit": issuer.token("rs256", crit=["exp"]),
        "crit of something unknown": issuer.token("rs256", None, crit=["urn:evil"], **{"urn:evil": "x"}),
        "an empty crit": issuer.token("rs256", crit=[]),
        "b64 false": issuer.token("rs256", b64=False, crit=["b64"]),
        "b64 false without crit": issuer.token("rs256", b64=False),
        "nested": issuer.token("rs256", good.encode(), cty="JWT"),
        "five parts": f"{first}.{second}.{third}.{second}.{third}",
        "four parts": f"{good}.",
        "two parts": f"{first}.{second}",
        "no signature": f"{first}.{second}.",
        "half a signature": f"{first}.{second}.{third[: len(third) // 2]}",
        "one sign less": good[:-3],
        "another signature": f"{first}.{second}.{issuer.token('rs256', issuer.claims('bob')).split('.')[2]}",
        "a signature of zeros": f"{first}.{second}.{encoded(bytes(256))}",
        "other claims": f"{first}.{spread}.{third}",
        "other claims and no alg": f"{encoded({'alg': 'none', 'kid': 'rs256'})}.{spread}.{third}",
        "another header": f"{encoded(header | {'typ': 'at+jwt', 'kid': 'rs256', 'x': 1})}.{second}.{third}",
        "nothing but dots": "..",
        "letters and dots": "a.b.c",
        "an empty header": f".{second}.{third}",
        "a header without claims": f"{first}..{third}",
        "a header that is a list": jwt_of(b'["RS256"]', claims, signer("RS256", rs)),
        "a header that is null": jwt_of(b"null", claims, signer("RS256", rs)),
        "a header that is no JSON": jwt_of(b"RS256", claims, signer("RS256", rs)),
        "a header that is no text": jwt_of(b"\xff\xfe", claims, signer("RS256", rs)),
        "a deep header": jwt_of(b'{"alg":' + b"[" * 5_000 + b"]" * 5_000 + b"}", claims, unsigned),
        "ES256 with the RSA key": jwt_of({"alg": "ES256", "kid": "rs256"}, claims, signer("ES256", es)),
        "RS256 with the EC key": jwt_of({"alg": "RS256", "kid": "es256"}, claims, signer("RS256", rs)),
        "RS256 with the Edwards key": jwt_of({"alg": "RS256", "kid": "eddsa"}, claims, signer("RS256", rs)),
        "EdDSA with the RSA key": jwt_of({"alg": "EdDSA", "kid": "rs256"}, claims, signer("EdDSA", ed)),
        "PS256 with the RS256 key": jwt_of({"alg": "PS256", "kid": "rs256"}, claims, signer("PS256", rs)),
        "RS512 with the RS256 key": jwt_of({"alg": "RS512", "kid": "rs256"}, claims, signer("RS512", rs)),
        "RS1": jwt_of({"alg": "RS1", "kid": "rs256"}, claims, signer("RS256", rs)),
        "ES256 by nobody": jwt_of({"alg": "ES256", "kid": "es256"}, claims, lambda _: bytes(64)),
        "ES256 by another": jwt_of({"alg": "ES256", "kid": "es256"}, claims, signer("ES256", new_key("ES256"))),
        "ES256K": jwt_of({"alg": "ES256K", "kid": "es256"}, claims, signer("ES256", es)),
        "EdDSA by another": jwt_of({"alg": "EdDSA", "kid": "eddsa"}, claims, signer("EdDSA", new_key("EdDSA"))),
        "EdDSA by nobody": jwt_of({"alg": "EdDSA", "kid": "eddsa"}, claims, lambda _: bytes(64)),
        "too long": issuer.token("rs256", issuer.claims(padding="x" * 17_000)),
    }
    made |= {f"claims: {name}": issuer.token("rs256", wrong) for name, wrong in wrong_claims(issuer).items()}
    return made
