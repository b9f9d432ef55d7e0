"""Everything between files of rows and batches of token tensors."""

from trimtab.train.data.batch import NOT_TRAINED, Batch, collate
from trimtab.train.data.batches import Batches, in_order
from trimtab.train.data.encode import EncodedSet, Example, encode, encode_seq2seq
from trimtab.train.data.isolation import isolation, with_mask
from trimtab.train.data.preview import preview
from trimtab.train.data.read import read_rows
from trimtab.train.data.rows import Conversation, Problem, RowSet, Turn
from trimtab.train.data.settings import DataSettings
from trimtab.train.data.split import split

__all__ = [
    "NOT_TRAINED",
    "Batch",
    "Batches",
    "Conversation",
    "DataSettings",
    "EncodedSet",
    "Example",
    "Problem",
    "RowSet",
    "Turn",
    "collate",
    "encode",
    "encode_seq2seq",
    "in_order",
    "isolation",
    "preview",
    "read_rows",
    "split",
    "with_mask",
]
