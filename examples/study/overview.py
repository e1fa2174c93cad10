"""What comes before the tables of a study: its recipes, and the share of the gap that each closes."""

from __future__ import annotations

from formats import share, table
from plan import SIZES
from recipes import ABLATIONS, RECIPES, SHOWN, Compress, Host
from results import Results, gaps_of, times_fewer


def overview(results: Results) -> str:
    """Return a table of the share of the gap that each recipe closes, of each size and task."""
    tasks, rows = results.tasks(), []
    for size in SIZES:
        smaller = times_fewer(results, size, tasks)
        gaps = {task: gaps_of(results, task, size) for task in tasks}
        rows += [
            [smaller, RECIPES[name].title, *(share(gaps[task].get(name)) for task in tasks)]
            for name in SHOWN
            if any(name in gaps[task] for task in tasks)
        ]
    return table(["fewer parameters", "recipe", *tasks], rows)


def recipe_tables() -> str:
    """Return the tables of the main recipes and of the ablations, with their options."""
    parts = []
    for names in (SHOWN, ABLATIONS):
        rows = []
        for name in names:
            recipe = RECIPES[name]
            paired, unpaired = _options(recipe.paired, "paired"), _options(recipe.unpaired, "unpaired")
            rows.append(
                [recipe.title, f"`{name}`", recipe.note, paired, "the same" if unpaired == paired else unpaired]
            )
        parts.append(table(["", "name", "what trains the student", "paired (pix2pix)", "unpaired (CycleGAN)"], rows))
    return "\n".join(parts)


def _options(run: Host | Compress, kind: str) -> str:
    words = [run.options]
    if isinstance(run, Compress):
        images = "--pairs train" if kind == "paired" else "--real trainB"
        words = ["kd compress", images if run.real else "", run.options]
    longer = f", {run.times} times as long" if run.times > 1 else ""
    return f"`{' '.join(filter(None, words))}`{longer}"
