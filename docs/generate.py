"""Write the lists of terms and options in README.md and docs/ from the code: ``make lists``.

They stand between ``terms:begin`` and ``terms:end``, or ``options:begin`` and ``options:end``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from kd_plugin import losses
from kd_plugin.host.options.distill import add_options

ROOT = Path(__file__).resolve().parent.parent


def markdown(text: str) -> str:
    """Return a help text as Markdown: options as code, and nothing that is read as markup."""
    return re.sub(r"--\w+", r"`\g<0>`", re.sub(r"[<*|]", r"\\\g<0>", text))


def options_table(old: str) -> str:
    """Return the options of the command line, as the parser has them."""
    parser = ArgumentParser(add_help=False)
    add_options(parser)
    rows = ["| option | default | |", "|---|---|---|"]
    for action in parser._actions:
        default = "" if action.default in (None, "") else f"`{action.default}`"
        choices = f" {action.metavar}" if action.metavar else ""
        text = (action.help or "").replace("%%", "%")  # as argparse prints it
        rows.append(f"| `{action.option_strings[0]}` | {default} | {markdown(text)}{choices} |")
    return "\n".join(rows)


def terms_table(old: str) -> str:
    """Return the terms with weight and summary. The last column is written by hand, and kept."""
    advice = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", old, re.MULTILINE))
    rows = ["| term | weight | what it compares | use it when |", "|---|---|---|---|"]
    for name in losses.term_names():
        term = losses.get_term(name)
        rows.append(f"| `{name}` | {term.default_weight:g} | {markdown(term.summary)} | {advice.get(name, 'TODO')} |")
    return "\n".join(rows)


def terms_sentence(old: str) -> str:
    """Return the number of terms, and the names of those that are not the papers'."""
    names = losses.term_names()
    others = ", ".join(f"`{name}`" for name in names if name not in ("wavelet", "srp"))
    return textwrap.fill(f"The others of the {len(names)} terms are there to add or compare: {others}.", 118)


def terms_reference(old: str) -> str:
    """Return a section of the API page for each term: the docstring of its module, its function and its class."""
    sections = []
    for name in losses.term_names():
        term = losses.get_term(name)
        sections.append(f"{name}\n{'-' * len(name)}\n\n.. automodule:: {term.__module__}\n")
        for public in losses.__all__:
            value = getattr(losses, public)
            if inspect.isfunction(value) and value.__module__ == term.__module__:
                sections.append(f".. autofunction:: kd_plugin.losses.{public}\n")
        arguments = "" if term.options else "()"  # else it would have the arguments of nn.Module
        sections.append(f".. autoclass:: kd_plugin.losses.{term.__name__}{arguments}\n")
    return "\n" + "\n".join(sections)


LISTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "README.md": ("terms", terms_sentence),
    "docs/losses.md": ("terms", terms_table),
    "docs/options.md": ("options", options_table),
    "docs/api/losses.rst": ("terms", terms_reference),
}


def updated(page: str) -> str:
    """Return the text of a page with its list as the code has it."""
    name, make = LISTS[page]
    text = (ROOT / page).read_text(encoding="utf-8")
    before, begin, old, end, after = re.split(rf"(.*{name}:begin.*\n)([\s\S]*?)(.*{name}:end)", text)
    return f"{before}{begin}{make(old)}\n{end}{after}"


if __name__ == "__main__":
    for page in LISTS:
        (ROOT / page).write_text(updated(page), encoding="utf-8", newline="\n")
