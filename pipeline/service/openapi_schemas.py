"""The schemas in /openapi.json. They only describe the answers, which are built as plain dictionaries."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from pipeline.params.serve import Serve
from pipeline.service.bodies import Images

# 32 x 32 px, black: a client may send the example unchanged.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAEklEQVR42mNgGAWjYBSMAuwAAAQgAAF8we+4AAAAAElFTkSuQmCC"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_GOOD = {
    "name": "a.jpg",
    "sha256": _DIGEST,
    "probabilities": {"drawings": 0.01, "neutral": 0.09, "porn": 0.9},
    "unsafe": 0.9,
    "threshold": 0.42,
    "decision": "unsafe",
    "frames": 1,
    "frames_scored": 1,
    "deciding_frame": 0,
    "error": None,
}
_BAD = {
    "name": "b.jpg",
    "sha256": _DIGEST,
    "probabilities": None,
    "unsafe": None,
    "threshold": 0.42,
    "decision": None,
    "frames": None,
    "frames_scored": None,
    "deciding_frame": None,
    "error": {"code": "not_a_picture", "detail": "it is an HTML page"},
}
_OF = {"model": {"name": "nsfw", "version": "3"}, "request_id": "5f2b6c0e"}


class Problem(BaseModel):
    """Why there is no result."""

    code: str = Field(description="stable, for programs", examples=["not_a_picture"])
    detail: str = Field(description="for people")


class Failed(BaseModel):
    """A request that failed."""

    error: Problem


class Version(BaseModel):
    """The registered model that scored the pictures of a request, all of them."""

    name: str
    version: str


class Result(BaseModel):
    """One picture: probabilities, or why there are none."""

    name: str | None
    sha256: str = Field(description="of the file's bytes")
    probabilities: dict[str, float] | None = Field(description="calibrated, by class; they add up to 1")
    unsafe: float | None = Field(description="their sum over the unsafe classes")
    threshold: float | None = Field(description="from which `unsafe` on it is unsafe; null where none is known")
    decision: Literal["unsafe", "safe"] | None
    frames: int | None = Field(description="of an animation, or pages of a TIFF; 1 for a still")
    frames_scored: int | None = Field(description="how many of them the model looked at")
    deciding_frame: int | None = Field(
        description="number, from 0, of the frame that scored highest: probabilities, unsafe and decision are its own"
    )
    error: Problem | None


class Results(BaseModel):
    """A result for each picture, in the request's order."""

    model: Version
    request_id: str
    pictures: list[Result]


_REFUSALS = {
    400: "malformed JSON, base64 or multipart, or no picture in it",
    408: "the body did not arrive in time",
    411: "no body, or no Content-Length",
    413: "the request, a picture of it, or their number is too large",
    415: "another Content-Type, or a Content-Encoding",
    429: "as many pictures as fit are in hand; try again after Retry-After seconds",
    500: "a defect of the service; never because of a file",
    503: "not ready yet, or being stopped, or no verdict (`unavailable`); try again after Retry-After seconds",
}


def responses() -> dict[int | str, dict[str, Any]]:
    """Return a description of every status that /v1/classify can answer with."""
    example = {"pictures": [_GOOD, _BAD], **_OF}
    by_status: dict[int | str, dict[str, Any]] = {
        200: {"model": Results, "description": "at least one picture has a result", **_example(example)},
        422: {
            "model": Results,
            "description": "no picture of the request could be used: each tells why",
            **_example({"pictures": [_BAD], **_OF}),
        },
    }
    for status, description in _REFUSALS.items():
        by_status[status] = {"model": Failed, "description": description}
        if status in {429, 503}:
            by_status[status]["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return by_status


def _example(document: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"example": document}}}


def request_body(limits: Serve) -> dict[str, Any]:
    """Return the OpenAPI description of the body that /v1/classify takes."""
    parts = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {
                "type": "array",
                "minItems": 1,
                "maxItems": limits.pictures,
                "items": {"type": "string", "format": "binary"},
                "description": "a file a part; the parts' names are free",
            }
        },
    }
    json_schema = Images.model_json_schema(ref_template="#/components/schemas/{model}")
    json_schema.pop("$defs", None)
    json_schema["properties"]["images"] |= {"minItems": 1, "maxItems": limits.pictures, "items": _image()}
    return {
        "required": True,
        "description": (
            f"{limits.pictures} pictures at most, of {limits.picture_mb:g} MB each; {limits.request_mb:g} MB in all"
        ),
        "content": {
            "multipart/form-data": {"schema": parts},
            "application/json": {
                "schema": json_schema,
                "example": {"images": [{"name": "a.png", "image": _PICTURE}]},
            },
        },
    }


def _image() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "format": "byte", "description": "the file's bytes, base64 with padding"},
            "name": {"type": ["string", "null"], "description": "given back with the result"},
        },
    }
