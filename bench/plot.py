"""Bar charts of the medians in results/throughput-*.json and many_peers.json."""

import json

import matplotlib as mpl

from bench.harness import RESULTS

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

COLOURS = {"ours": "#2a7f62", "libtorrent": "#b0613c", "libtorrent_defaults": "#d9a066"}


def main() -> None:
    documents = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    documents = [item for item in documents if item["what"] in {"throughput", "many_peers"}]
    if not documents:
        raise SystemExit("no results yet: bench/run throughput")
    heights = [0.6 + 0.3 * len(document["medians"]) for document in documents]
    figure, axes = plt.subplots(
        len(documents),
        2,
        figsize=(11, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for row, document in zip(axes, documents, strict=True):
        draw(row[0], document, "mib_per_s", f"{title(document)}: MiB/s")
        memory = "seed_peak_rss_mib" if document["what"] == "many_peers" else "peak_rss_mib"
        draw(row[1], document, memory, "peak RSS, MiB")
    path = RESULTS / "throughput.svg"
    figure.savefig(path, metadata={"Date": None})
    print("written:", path)


def title(document: dict) -> str:
    options = document["options"]
    if document["what"] == "many_peers":
        return f"{options['connections']} connections"
    where = "tmpfs" if options["dir"] == "/dev/shm" else "disk"
    return f"{options['size_mib']} MiB, {options['piece_kib']} KiB pieces, {where}"


def draw(axis: Axes, document: dict, key: str, heading: str) -> None:
    medians = document["medians"]
    labels, values = list(medians), [figures[key] for figures in medians.values()]
    colours = [COLOURS.get(label.split()[0], "#888888") for label in labels]
    bars = axis.barh(labels, values, color=colours)
    axis.bar_label(bars, fmt="%.0f", padding=3)
    axis.invert_yaxis()
    axis.set_title(heading, fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.15)


if __name__ == "__main__":
    main()
