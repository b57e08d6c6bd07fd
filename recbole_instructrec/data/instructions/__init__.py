"""Where an instruction comes from.

An instruction belongs to a position of the history: it is what the user said
before that next item. Distinct texts are kept once in an
:class:`InstructionBank`; rows carry their numbers.

=========== ================================================== ====================
source      text                                               sees the target
=========== ================================================== ====================
``none``    no instruction                                     no
``history`` a sentence about the user's earlier interactions   no
``file``    a real text that came with the data                as the data has it
``intent``  asks for one attribute of the target               yes (an oracle)
``shuffled`` the instruction of another user                   no (a control)
=========== ================================================== ====================
"""

from __future__ import annotations

from recbole_instructrec.data.instructions.bank import InstructionBank, InstructionError
from recbole_instructrec.data.instructions.build import SOURCES, build_sources, mixture
from recbole_instructrec.data.instructions.words import Templates

__all__ = ["SOURCES", "InstructionBank", "InstructionError", "Templates", "build_sources", "mixture"]
