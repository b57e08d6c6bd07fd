"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recbole_instructrec.live.phrases import languages

Rule = dict[str, Any]


class _Strict(BaseModel):
    """A body in which a misspelt name is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewSession(_Strict):
    """Begin a conversation."""

    user: str | None = Field(None, description="A user of the data set or the store, or a new one; a guest without it.")


class Ask(_Strict):
    """Ask for a list."""

    text: str | None = Field(
        "", description="In plain words; follow-ups speak of the list before. Empty: whatever fits. Null: once more."
    )
    k: Annotated[int, Field(ge=1, le=100)] = 10
    must: Rule | None = Field(None, description='Rules, such as {"genre": "Comedy", "price": {"max": 20}}.')
    must_not: Rule | None = None
    without: list[str] | None = Field(
        None, description="Attributes that were understood and are not meant; by default as while the request goes on."
    )
    hide_seen: bool | None = Field(None, description="Leave out what the user took; by default what the model learned.")
    diversity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    reasons: bool = True
    language: str | None = Field(
        None,
        description="Of reasons and notes; by default as it was said.",
        json_schema_extra={"anyOf": [{"type": "string", "enum": list[Any](languages())}, {"type": "null"}]},
    )


class Reaction(_Strict):
    """React to an item."""

    item: str
    event: Literal["click", "like", "dislike", "seen", "skip", "rating", "undo"] = Field(
        description="undo takes back all reactions of the user to the item."
    )
    rating: float | None = None


class ShownItem(BaseModel):
    """An item as it is shown."""

    id: str
    title: str
    attributes: list[str]


class GivenReaction(BaseModel):
    """A reaction that stands."""

    event: str
    rating: float | None


class ReactedItem(ShownItem):
    """An item that the user reacted to."""

    reactions: list[GivenReaction]


class Opened(BaseModel):
    """A session."""

    session: str
    user: str
    known: bool = Field(description="Whether the data set or the store knew the user before.")
    history: list[ShownItem]
    reactions: list[ReactedItem]


class Why(BaseModel):
    """Why an item is in a list."""

    sentence: str
    attributes: list[str]
    words: list[tuple[str, float]]
    history: list[tuple[str, float]]


class ListedItem(ShownItem):
    """An item of a list."""

    score: float
    reasons: Why | None


class Understood(BaseModel):
    """An attribute that was recognised."""

    attribute: str
    sign: Literal["want", "avoid"]
    confidence: float
    words: list[tuple[str, float]]


class Told(BaseModel):
    """A reaction that was told in words, and is stored."""

    item: str
    title: str
    event: str


class Answered(BaseModel):
    """A list with its reasons."""

    items: list[ListedItem]
    understood: list[Understood]
    degree: str | None
    heard: str
    without: list[str] = Field(description="Attributes that were left out.")
    note: str
    steps: list[str] = Field(description="Texts that ask for the same in a new conversation, one after the other.")
    event: int
    version: int
    language: str = Field(description="Of reasons and note.")
    reactions: list[Told]


class Stored(BaseModel):
    """A reaction is on disk."""

    event: int


class Version(BaseModel):
    """A version of the weights."""

    id: int
    parent: int | None
    time: float | None
    status: str
    current: bool
    about: dict[str, Any]


class Versions(BaseModel):
    """All versions."""

    versions: list[Version]
    learning: bool
    last: str = Field(description="What came of the last learning.")


class Erased(BaseModel):
    """What was erased about a user."""

    events: int
    versions: list[int]
    traces: list[str]
    in_dataset: int


class About(BaseModel):
    """What is served."""

    dataset: str
    items: int
    attributes: list[str]
    columns: list[str]
    rating_scale: list[float]
    never_twice: bool = Field(description="Whether what the user took is left out where a request does not say.")
    languages: list[str]
    names: dict[str, dict[str, str]] = Field(description="How attributes are called, by language.")
    version: int
    time: float


class Error(BaseModel):
    """Why a request was not answered."""

    error: str
