"""The measured figures as a page of Markdown and a bar plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES


def markdown(found: Mapping[str, Any]) -> str:
    """All sections that were measured."""
    parts = [f"Machine: {found['machine']}, {found['threads']} threads; {found['versions']}.", ""]
    for section, text in SECTIONS.items():
        if section in found["sections"]:
            measured = found["sections"][section]
            stamp = f"`--sections {section}`, commit {measured['commit']}, {measured['date']}"
            parts += [f"## {text[0]}", "", *text[1](measured["figures"]), "", f"({stamp})", ""]
    return "\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown lines of a table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def spread(value: Mapping[str, float], digits: int = 3) -> str:
    """Median and, in brackets, smallest to largest."""
    return f"{value['median']:.{digits}f} ({value['min']:.{digits}f} to {value['max']:.{digits}f})"


def inference(f: Mapping[str, Any]) -> list[str]:
    faster = f["times_faster_than_windows"]
    stock = f["times_faster_than_stock"]
    rows = [
        [
            name,
            spread(seconds),
            spread(faster[name], 2) if name in faster else "",
            spread(stock[name], 2) if name in stock else "",
        ]
        for name, seconds in f["seconds_per_slice"].items()
    ]
    same = table(
        ["against windows, float32", "boxes", "without a partner", "largest score difference", "largest shift px"],
        [
            [
                name,
                str(a["boxes"]),
                str(a["without_partner"]),
                f"{a['largest_score_difference']:.2g}",
                f"{a['largest_shift_px']:.2g}",
            ]
            for name, a in f["agreement_with_windows"].items()
        ],
    )
    return [
        f"{f['size_px']} x {f['size_px']} px, 2 mm; {f['slices']['streamed']} slices streamed, "
        f"{f['slices']['windows']} by windows; {f['proposals']} proposals a slice in our second stage.",
        "",
        *table(["way", "s a slice", "x faster than windows", "x faster than torchvision"], rows),
        "",
        *same,
    ]


def roofline(f: Mapping[str, Any]) -> list[str]:
    return [
        *table(["work", "GFLOP"], [[name, f"{value:.0f}"] for name, value in f["gflop"].items()]),
        "",
        *table(["machine", "GFLOP/s"], [[name, f"{value:.0f}"] for name, value in f["gflop_per_second"].items()]),
    ]


def retinanet(f: Mapping[str, Any]) -> list[str]:
    return [
        f"One {' x '.join(str(p) for p in f['patch'])} patch: {f['seconds_per_patch']:.1f} s; "
        f"{f['patches_per_layer']} patches cover 512 x 512, which makes {f['seconds_per_slice_at_2_mm']:.2f} s a slice "
        "of 2 mm."
    ]


def linking(f: Mapping[str, Any]) -> list[str]:
    return [
        f"{f['slices']} slices with {f['boxes_per_slice']} boxes each: "
        f"{1000 * f['seconds_per_slice']['median']:.2f} ms a slice."
    ]


def evaluation(f: Mapping[str, Any]) -> list[str]:
    names = {
        "vectorised": "ours",
        "numpy": "the rules in numpy, tracklet by tracklet",
        "plain": "the rules in plain Python",
    }
    rows = [
        [
            title,
            spread(f["seconds"][name], 2),
            spread(f["times_faster"][name], 1) if name in f["times_faster"] else "",
            f"{f['average_precision'][name]:.6f}",
        ]
        for name, title in names.items()
    ]
    return [
        f"{f['sub_volumes']} sub-volumes, {f['tracklets']} tracklets, {f['marks']} marks.",
        "",
        *table(["program", "s", "ours is x faster", "AP"], rows),
    ]


def training(f: Mapping[str, Any]) -> list[str]:
    step, loading, waiting = f["step"], f["loading"], f["waiting"]
    return [
        f"Full network, {step['size_px']} px, batch {step['batch']}, float32:",
        "",
        *table(["part", "s"], [[name, spread(value)] for name, value in step["seconds"].items()]),
        "",
        f"Mining and averaging cost {100 * step['mining_and_averaging_share_of_step']:.0f} % of the student's step.",
        "",
        *table(["loading", "slabs a second"], [[n, f"{v:.1f}"] for n, v in loading["slabs_per_second"].items()]),
        "",
        f"Demo training, one process: the step waits for data {100 * waiting['share_of_time_waiting']:.1f} % of "
        "the time.",
    ]


def dicom(f: Mapping[str, Any]) -> list[str]:
    return [
        f"{f['slices']} slices, {f['findings']} findings, SR + SEG + key images: {f['seconds']:.1f} s, the network "
        f"{f['network_seconds']:.1f} s of it; all else is {100 * f['share_besides_network']:.1f} % of the network's "
        "time."
    ]


def memory(f: list[Mapping[str, Any]]) -> list[str]:
    return table(
        ["slices", "network", "volume MiB", "peak beyond volume MiB", "s reading", "s", "ms a slice"],
        [
            [
                str(m["slices"]),
                m["network"],
                f"{m['volume_mib']:.0f}",
                f"{m['peak_beyond_volume_mib']:.0f}",
                f"{m['seconds_reading']:.1f}",
                f"{m['seconds']:.1f}",
                f"{1000 * m['seconds'] / m['slices']:.0f}",
            ]
            for m in f
        ],
    )


SECTIONS = {
    "inference": ("Whole-volume inference", inference),
    "roofline": ("Work, and what the machine can do", roofline),
    "retinanet": ("MONAI's RetinaNet 3D", retinanet),
    "linking": ("Linking", linking),
    "evaluation": ("P3D evaluation", evaluation),
    "training": ("Training", training),
    "dicom": ("DICOM in, findings out", dicom),
    "memory": ("Memory", memory),
}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Seconds a slice of every way, as bars."""
    measured = found["sections"]["inference"]["figures"]
    figures, size = measured["seconds_per_slice"], measured["size_px"]
    page = Page(8.2, 0.6 + 0.42 * len(figures))
    axes = page.axes(3.9, 0.15, 4.1, 0.42 * len(figures))
    names = list(figures)[::-1]
    values = [figures[name]["median"] for name in names]
    axes.barh(
        range(len(names)), values, color=[SERIES[1] if "torchvision" in n else SERIES[0] for n in names], height=0.62
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for i, value in enumerate(values):
        axes.text(value, i, f" {value:.2f}", va="center", fontsize=8, color=MUTED)
    axes.set_xlim(0, 1.12 * max(values))
    axes.set_xlabel(f"seconds a slice of {size} x {size} px", fontsize=8)
    style_plot_axes(axes)
    page.save(path)
