"""The messages that the programs exchange: a model with everything that JSON alone would not give back."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel


class Mood(StrEnum):
    CALM = "calm"
    CURIOUS = "curious"


class Author(BaseModel):
    name: str
    since: datetime


class Note(BaseModel):
    text: str
    id: UUID | None = None
    at: datetime | None = None
    took: timedelta | None = None
    price: Decimal | None = None
    mood: Mood = Mood.CALM
    author: Author | None = None
    earlier: list[Author] = []
