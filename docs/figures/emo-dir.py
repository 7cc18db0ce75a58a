"""Draw emo-dir.svg: the fronts of two stages, their impairment ranking, and the schemes that follow.

The numbers are those of the worked example in docs/emo-dir.md, with errors through the detectors made up.
Run from the repository root: ``python docs/figures/emo-dir.py``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from emoref.systems.emo_dir_joint import Member, impairment_schemes, ranked, saved_macs

MEMBERS = [
    Member(0, 0, 60, 100, 9),
    Member(0, 1, 40, 100, 4),
    Member(0, 2, 0, 100, 0),
    Member(1, 0, 30, 80, 5),
    Member(1, 1, 10, 80, -1),
]
ERRORS = {0: (0.16, 0.12, 0.1), 1: (0.14, 0.1)}  # through the detectors, of each stage's front
MACS, THETA = 200, 5
COLOURS = ("#0a5fb4", "#c69a24")


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, 4, figsize=(8.8, 2.5), layout="constrained", width_ratios=[3, 3, 4, 4])
    for stage, axis in enumerate(axes[:2]):
        own = [m for m in MEMBERS if m.stage == stage]
        x = [1 - float(m.rate) for m in own]
        axis.step(x, ERRORS[stage], where="post", color=COLOURS[stage], lw=1)
        axis.plot(x, ERRORS[stage], "o", color=COLOURS[stage], ms=4)
        axis.set(title=f"front of stage {stage + 1}", xlim=(0.3, 1.08), ylim=(0.08, 0.18))
        axis.set_xlabel("MACs left")
    axes[0].set_ylabel("error of the detector")
    _ranking(axes[2])
    _schemes(axes[3])
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _ranking(axis: plt.Axes) -> None:
    for rank, member in enumerate(ranked(MEMBERS), start=1):
        axis.bar(rank, member.impairment, color=COLOURS[member.stage], width=0.7)
        axis.text(
            rank, max(member.impairment, 0) + 0.2, f"saves {member.saved_macs}", ha="center", fontsize=6
        )
    axis.axhline(0, color="grey", lw=0.6)
    axis.axhline(THETA, color="#444444", lw=0.9, ls="--")
    axis.text(0.5, THETA + 0.2, f"theta = {THETA}", fontsize=7)
    axis.set(title="impairment ranking", xlabel="rank", ylabel="wrong more", ylim=(-1.6, 10.5))


def _schemes(axis: plt.Axes) -> None:
    schemes = impairment_schemes(MEMBERS, 2)
    x = [saved_macs(MEMBERS, scheme.choice) / MACS for scheme in schemes]
    levels = [scheme.level for scheme in schemes]
    axis.step(x, levels, where="pre", color="#3a7d44", lw=1)
    axis.plot(x, levels, "o", color="#3a7d44", ms=4)
    for place, scheme in zip(x, schemes, strict=True):
        words = " + ".join(
            "intact" if i < 0 else f"{k}.{i + 1}" for k, i in enumerate(scheme.choice, start=1)
        )
        axis.annotate(words, (place, scheme.level), textcoords="offset points", xytext=(5, -8), fontsize=6)
    axis.axvline(0.3, color="#444444", lw=0.9, ls="--")
    axis.text(0.29, 9.6, "target", fontsize=7, ha="right")
    axis.set(title="joint schemes", xlabel="MACs saved", ylabel="theta", xlim=(0, 0.68), ylim=(-2.5, 10.5))


if __name__ == "__main__":
    main()
