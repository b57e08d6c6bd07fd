"""Distinct instruction texts and their numbers."""

from __future__ import annotations

from recbole_instructrec.data.instructions.wish import Wish


class InstructionError(ValueError):
    """An instruction source cannot be had from this data set."""


class InstructionBank:
    """Distinct instruction texts and what they ask for.

    Attributes
    ----------
    texts : list of str
        Number 0 is the empty instruction.
    asked : list of Wish or None
        What each text asks for; None where it is not known (a real text).
    """

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self.asked: list[Wish | None] = [Wish()]
        self._number: dict[str, int] = {"": 0}

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str, asked: Wish | None) -> int:
        """Number of a text; white space alone is the empty instruction.

        Parameters
        ----------
        text : str
            Any text, any language.
        asked : Wish or None
            What it asks for, if that is known.

        Returns
        -------
        int
            Its number in :attr:`texts`.
        """
        text = " ".join(text.split())
        number = self._number.get(text)
        if number is None:
            number = self._number[text] = len(self.texts)
            self.texts.append(text)
            self.asked.append(asked)
        return number
