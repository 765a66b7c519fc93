"""Descriptions of answers that are no JSON, or have another status than the usual one."""

from typing import Any

JSON = "application/json"
Answers = dict[int | str, dict[str, Any]]


def answers_of_kinds(*media_types: str) -> Answers:
    """Describe the usual answer, of one of some media types; for ``responses`` of a route."""
    return {200: {"content": {each: {} for each in media_types}}}


def further_answers(*statuses: int, media_type: str = JSON) -> Answers:
    """Describe answers that have the same body with other statuses; "": they have none."""
    answer: dict[str, Any] = {"description": "As the text says"}
    if media_type:
        answer["content"] = {media_type: {}}
    return dict.fromkeys(statuses, answer)
