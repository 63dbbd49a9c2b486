"""A bucket on moto's server, and users whose keys open a part of it, or nothing."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BUCKET, REGION = "team-nsfw", "eu-central-1"


@dataclass(frozen=True)
class Key:
    """What a user names in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    id: str
    secret: str

    @property
    def variables(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_DEFAULT_REGION": REGION}


class Bucket:
    """The bucket; its server checks signatures and rights from here on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._owner = Key("owner", "owner")
        self._checks_rights(first=float("inf"))
        self._client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def _client(self, service: str) -> Any:
        import boto3

        key = {"aws_access_key_id": self._owner.id, "aws_secret_access_key": self._owner.secret}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **key)

    def _checks_rights(self, *, first: float) -> None:
        request = urllib.request.Request(  # noqa: S310 -- our own server
            f"{self.url}/moto-api/reset-auth", str(first).encode(), {"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(request).close()  # noqa: S310

    def user(self, name: str, folder: str | None) -> Key:
        """Make a user who may read and write a folder of the bucket, or nothing; return the key."""
        self._checks_rights(first=float("inf"))
        iam = self._client("iam")
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.allow(name, folder)
        return Key(key["AccessKeyId"], key["SecretAccessKey"])

    def allow(self, name: str, folder: str | None) -> None:
        """Let a user read and write a folder of the bucket, or nothing, from now on."""
        arn = f"arn:aws:s3:::{BUCKET}"
        statements = [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]
        if folder is not None:
            objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
            statements = [
                {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": arn},
                {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/{folder}/*"},
            ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._checks_rights(first=float("inf"))
        self._client("iam").put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        self._checks_rights(first=0)

    def objects(self, folder: str) -> list[str]:
        """The names of what lies below a folder."""
        self._checks_rights(first=float("inf"))
        try:
            return list(self._names(folder))
        finally:
            self._checks_rights(first=0)

    def _names(self, folder: str) -> Iterator[str]:
        pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{folder}/")
        for page in pages:
            yield from (entry["Key"] for entry in page.get("Contents", []))
