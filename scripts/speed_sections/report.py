"""The measured figures as a page of Markdown and a bar plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_table import markdown_table

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES


def markdown(found: Mapping[str, Any]) -> str:
    """All sections that were measured, the targets first."""
    parts = [f"Machine: {found['machine']}, {found['threads']} threads; {found['versions']}.", ""]
    parts += [*markdown_table(["target", "measured", ""], targets(found["sections"])), ""]
    for section, text in SECTIONS.items():
        if section in found["sections"]:
            measured = found["sections"][section]
            stamp = f"`--sections {section}`, commit {measured['commit']}, {measured['date']}"
            parts += [f"## {text[0]}", "", *text[1](measured["figures"])]
            parts += share_of_machine(found["sections"]) if section == "roofline" else []
            parts += ["", f"({stamp})", ""]
    return "\n".join(parts)


def targets(sections: Mapping[str, Any]) -> list[list[str]]:
    """What was aimed at and what came out, as far as it was measured."""
    figures = {name: section["figures"] for name, section in sections.items()}
    rows: list[tuple[str, str, bool]] = []
    if "inference" in figures:
        windows, stock = (
            figures["inference"]["times_faster_than_windows"],
            figures["inference"]["times_faster_than_stock"],
        )
        low, full = (windows[f"streaming, prepared network, {name}"]["median"] for name in ("bfloat16", "float32"))
        best = stock["streaming, prepared network, bfloat16"]["median"]
        rows.append(("streaming in bfloat16 >= 4 x windows in float32", f"{low:.1f} x", low >= 4))
        rows.append(("streaming in float32 >= 1.25 x windows", f"{full:.2f} x", full >= 1.25))
        rows.append(("not slower than torchvision's Faster R-CNN", f"{best:.1f} x", best >= 1))
        if "linking" in figures:
            network = figures["inference"]["seconds_per_slice"]["streaming, prepared network, bfloat16"]["median"]
            share = 100 * figures["linking"]["seconds_per_slice"]["median"] / network
            rows.append(("linking < 2 % of inference", f"{share:.1f} %", share < 2))
    if "evaluation" in figures:
        faster = {name: value["median"] for name, value in figures["evaluation"]["times_faster"].items()}
        rows.append(("P3D evaluation >= 10 x the rules in numpy", f"{faster['numpy']:.1f} x", faster["numpy"] >= 10))
        rows.append(("the same against the rules in plain Python", f"{faster['plain']:.1f} x", faster["plain"] >= 10))
    if "dicom" in figures:
        for way, found_way in figures["dicom"]["ways"].items():
            share = 100 * found_way["share_besides_network"]["median"]
            rows.append((f"DICOM to {way}: besides the network <= 15 %", f"{share:.0f} %", share <= 15))
    if "memory" in figures:
        most = max(m["peak_mib"] - m["ct_mib"] for m in figures["memory"])
        rows.append(("memory beyond the CT's own <= 2 GiB", f"{most:.0f} MiB", most <= 2048))
    if "training" in figures:
        share = 100 * figures["training"]["step"]["mining_and_averaging_share_of_step"]
        rows.append(("mining and averaging <= 35 % of the student's step", f"{share:.0f} %", share <= 35))
    return [[what, measured, "met" if met else "NOT met"] for what, measured, met in rows]


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
    same = markdown_table(
        ["against windows, float32", "boxes paired", "shown ones (>= 0.1) paired", "shift px", "score difference"],
        [
            [
                name,
                f"{a['paired']} of {a['boxes']} (finds {a['found']})",
                f"{a['shown_paired']} of {a['shown']}",
                f"median {a['median_shift_px']:.2g}, most {a['largest_shift_px']:.2g}",
                f"median {a['median_score_difference']:.2g}, most {a['largest_score_difference']:.2g}",
            ]
            for name, a in f["agreement_with_windows"].items()
        ],
    )
    return [
        f"{f['size_px']} x {f['size_px']} px, 2 mm; {f['slices']['streamed']} slices streamed (with the volume's ends, "
        f"where less is shared), {f['slices']['windows']} by windows; {f['proposals']} proposals a slice in our second "
        "stage; random weights, norms settled, logits spread.",
        "",
        *markdown_table(["way", "s a slice", "x faster than windows", "x faster than torchvision"], rows),
        "",
        *same,
    ]


def experts(f: Mapping[str, Any]) -> list[str]:
    slower = f["times_slower"]
    rows = [
        [name, spread(seconds), spread(slower[name], 2) if name in slower else ""]
        for name, seconds in f["seconds_per_slice"].items()
    ]
    return [
        f"{f['slices']} slices of {f['size_px']} x {f['size_px']} px, 2 mm, streamed in float32, no network folded; "
        f"{f['proposals']} pooled proposals a slice; random weights. The paper: four data sets take {f['paper']} times "
        "as long as one.",
        "",
        *markdown_table(["detector", "s a slice", "four data sets take x as long"], rows),
    ]


def roofline(f: Mapping[str, Any]) -> list[str]:
    return [
        *markdown_table(["work", "GFLOP"], [[name, f"{value:.0f}"] for name, value in f["gflop"].items()]),
        "",
        *markdown_table(["machine", "GFLOP/s"], [[name, f"{v:.0f}"] for name, v in f["gflop_per_second"].items()]),
    ]


def share_of_machine(sections: Mapping[str, Any]) -> list[str]:
    """Work a second of each way, and the share of what the same machine does in the RPN's convolution alone."""
    if "inference" not in sections:
        return []
    work, rates = (sections["roofline"]["figures"][name] for name in ("gflop", "gflop_per_second"))
    seconds = sections["inference"]["figures"]["seconds_per_slice"]
    ways = (
        ("nine-slice windows, float32", "nine-slice window", "float32"),
        ("streaming, the same network", "streamed slice, the same network", "float32"),
        ("streaming, prepared network, float32", "streamed slice, prepared network", "float32"),
        ("streaming, prepared network, bfloat16", "streamed slice, prepared network", "bfloat16"),
    )
    rows = []
    for way, counted, dtype in ways:
        rate = work[counted] / seconds[way]["median"]
        rows.append([way, f"{rate:.0f}", f"{100 * rate / rates[f'3x3 convolution {dtype}']:.0f} %"])
    return ["", *markdown_table(["way", "GFLOP/s", "of the convolution's rate"], rows)]


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
        *markdown_table(["program", "s", "ours is x faster", "AP"], rows),
    ]


def training(f: Mapping[str, Any]) -> list[str]:
    step, loading, waiting = f["step"], f["loading"], f["waiting"]
    pooled = [
        [name, spread(found["seconds"]["torchvision"]), spread(found["seconds"]["ours"]), spread(found["x_faster"], 1)]
        for name, found in f["pooling"].items()
    ]
    return [
        *markdown_table(["RoIAlign, there and back", "torchvision, s", "ours, s", "ours is x faster"], pooled),
        "",
        f"Full network, {step['size_px']} px, batch {step['batch']}, float32:",
        "",
        *markdown_table(["part", "s"], [[name, spread(value)] for name, value in step["seconds"].items()]),
        "",
        f"Mining and averaging cost {100 * step['mining_and_averaging_share_of_step']:.0f} % of the student's step.",
        "",
        *markdown_table(
            ["loading", "slabs a second"], [[name, f"{v:.1f}"] for name, v in loading["slabs_per_second"].items()]
        ),
        "",
        f"Demo training, one process: the step waits for data {100 * waiting['share_of_time_waiting']:.1f} % of "
        "the time.",
    ]


def dicom(f: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            way,
            spread(m["seconds"], 1),
            spread(m["network_seconds"], 1),
            spread({name: 100 * value for name, value in m["share_besides_network"].items()}, 1),
        ]
        for way, m in f["ways"].items()
    ]
    return [
        f"{f['slices']} slices, {f['findings']} findings; model read anew each time, libraries loaded before.",
        "",
        *markdown_table(["written", "s", "of these the network", "all else, % of the network"], rows),
    ]


def memory(f: list[Mapping[str, Any]]) -> list[str]:
    return [
        "A NIfTI file of 512 x 512 px slices; the peak comes when the CT is cropped and resampled, and both lie in "
        "memory.",
        "",
        *markdown_table(
            [
                "slices",
                "network",
                "CT MiB",
                "prepared CT MiB",
                "peak MiB",
                "beyond the CT",
                "beyond both",
                "ms a slice",
            ],
            [
                [
                    str(m["slices"]),
                    m["network"],
                    *(f"{m[key]:.0f}" for key in ("ct_mib", "prepared_mib", "peak_mib")),
                    f"{m['peak_mib'] - m['ct_mib']:.0f}",
                    f"{m['peak_mib'] - m['ct_mib'] - m['prepared_mib']:.0f}",
                    f"{1000 * m['seconds'] / m['slices']:.0f}",
                ]
                for m in f
            ],
        ),
    ]


SECTIONS = {
    "inference": ("Whole-volume inference", inference),
    "experts": ("What LENS's experts cost", experts),
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
