"""Chat templates are programs from strangers: looked through before they are used, and run in a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError

MAX_TEMPLATE_CHARACTERS: Final = 1 << 18
MAX_LOOPS_INSIDE_LOOPS: Final = 4
MAX_FACTOR: Final = 10_000


def check_template(template: str, path: Path) -> None:
    """Refuse a template that is damaged, or could take all time or memory in one expression.

    The sandbox that transformers runs templates in bars attributes that lead out, and loops over more than 100,000
    numbers. It does not bar powers, repeated products and deeply nested loops: they are refused here.

    Raises:
        FormatError: with what was found.
    """
    from jinja2 import TemplateError, nodes

    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise FormatError(path, f"has a chat template of more than {MAX_TEMPLATE_CHARACTERS} characters")
    try:
        tree = _parser().parse(template)
    except (TemplateError, RecursionError) as error:
        raise FormatError(path, f"has a chat template that cannot be read ({_first_line(error)})") from error
    if next(tree.find_all((nodes.Pow, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
        raise FormatError(path, "has a chat template with a power or an inclusion, which none needs")
    if any(_is_large_product(product) for product in tree.find_all(nodes.Mul)):
        raise FormatError(path, f"has a chat template that multiplies by more than {MAX_FACTOR}, or twice in a row")
    if _loop_depth(tree) > MAX_LOOPS_INSIDE_LOOPS:
        raise FormatError(path, f"has a chat template with loops nested deeper than {MAX_LOOPS_INSIDE_LOOPS}")


def _parser() -> Any:
    """Give an environment that knows the tags which transformers adds; it only parses."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from transformers.utils.chat_template_utils import _compile_jinja_template

    compiled = _compile_jinja_template("")
    return getattr(compiled, "environment", None) or ImmutableSandboxedEnvironment(extensions=[loopcontrols])


def _is_large_product(product: Any) -> bool:
    from jinja2 import nodes

    sides = (product.left, product.right)
    numbers = [side.value for side in sides if isinstance(side, nodes.Const) and isinstance(side.value, int | float)]
    return any(abs(number) > MAX_FACTOR for number in numbers) or any(isinstance(side, nodes.Mul) for side in sides)


def _loop_depth(node: Any) -> int:
    from jinja2 import nodes

    inner = max((_loop_depth(child) for child in node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
