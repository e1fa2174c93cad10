"""Which cells of a preset were run, and where."""

from __future__ import annotations

from collections import Counter

from formats import table
from plan import Cell, Preset
from results import Results


def extent(results: Results, preset: Preset) -> str:
    """Return a table of the recipes that were run with all seeds of a preset, with some, or not, and the machines."""
    done = {result.cell for result in results.results}
    planned: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in preset.cells():
        planned.setdefault((cell.task, cell.size), {}).setdefault(cell.recipe, []).append(cell)
    rows = []
    for (task, size), recipes in planned.items():
        counts = {name: (len(done.intersection(cells)), len(cells)) for name, cells in recipes.items()}
        rows.append(
            [
                f"{task}, {size}",
                ", ".join(f"`{name}` {every}" for name, (run, every) in counts.items() if run == every),
                ", ".join(f"`{name}` {run}/{every}" for name, (run, every) in counts.items() if 0 < run < every),
                ", ".join(f"`{name}`" for name, (run, _) in counts.items() if not run),
            ]
        )
    return f"{table(['', 'all seeds', 'some seeds', 'not run'], rows)}\n{_machines(results)}"


def _machines(results: Results) -> str:
    counts = Counter(_machine(result.found) for result in results.results)
    return "".join(f"* {count} cells on {machine}\n" for machine, count in counts.most_common())


def _machine(found: dict[str, dict[str, object]]) -> str:
    hardware, versions = found["hardware"], found["versions"]
    about = [hardware["name"]]
    if hardware["device"] == "cpu":
        about += [hardware.get("instructions", ""), f"threads: {hardware['threads']}"]
    return f"{hardware['device']} ({', '.join(filter(None, about))}), PyTorch {versions['torch']}"
