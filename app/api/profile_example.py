"""A profile of the demo model, for the OpenAPI document, and what the service answers to it."""

from typing import Any

from app.api.examples import DEMO_MODEL_ID, PROFILE_ID

_MICROSECONDS = """
node_Conv_810=211 n4=3.9 node_Conv_812=105 n4_2=5.81 node_Conv_814=75.3 node_Conv_816=282
n4_3=8.82 node_Conv_818=147 n4_4=8.17 node_Conv_820=101 node_Conv_822=166 n4_5=3.46
node_Conv_824=118 n4_6=6.55 node_Conv_826=134 node_add_120=0.464 node_Conv_828=167 n4_7=3.48
node_Conv_830=38.9 n4_8=2.16 node_Conv_832=36.2 node_Conv_834=57.6 n4_9=0.9 node_Conv_836=42.6
n4_10=2.36 node_Conv_838=46.2 node_add_206=0.12 node_Conv_840=56.9 n4_11=0.889 node_Conv_842=42.7
n4_12=2.37 node_Conv_844=46.2 node_add_252=0.12 node_Conv_846=57.2 n4_13=0.893 node_Conv_848=15.3
n4_14=0.848 node_Conv_850=25.3 node_Conv_852=53.5 n4_15=0.418 node_Conv_854=28.1 n4_16=1.56
node_Conv_856=46.6 node_add_338=0.0606 node_Conv_858=54 n4_17=0.422 node_Conv_860=27.5 n4_18=1.53
node_Conv_862=46.5 node_add_384=0.0605 node_Conv_864=53.4 n4_19=0.417 node_Conv_866=27.7
n4_20=1.54 node_Conv_868=46.2 node_add_430=0.0601 node_Conv_870=53.9 n4_21=0.421
node_Conv_872=27.7 n4_22=1.54 node_Conv_874=69.7 node_Conv_876=112 n4_23=0.584 node_Conv_878=40.8
n4_24=2.27 node_Conv_880=103 node_add_516=0.0895 node_Conv_882=113 n4_25=0.586 node_Conv_884=40.8
n4_26=2.26 node_Conv_886=105 node_add_562=0.0911 node_Conv_888=112 n4_27=0.582 node_Conv_890=14.2
n4_28=0.786 node_Conv_892=51.8 node_Conv_894=96.7 n4_29=0.302 node_Conv_896=19.3 n4_30=1.07
node_Conv_898=84.2 node_add_648=0.0438 node_Conv_900=95.4 n4_31=0.298 node_Conv_902=18.5
n4_32=1.03 node_Conv_904=83.1 node_add_694=0.0433 node_Conv_906=95.4 n4_33=0.298
node_Conv_908=19.3 n4_34=1.07 node_Conv_910=162 node_Conv_912=241 n4_35=0.377 node_mean=11.2
node_Reshape_915=2.94 node_linear=142
"""

PROFILE_REQUEST: dict[str, Any] = {
    "name": "a small virtual machine, one thread",
    "machine": {
        "cpu": "AMD EPYC",
        "cores": 2,
        "os": "Linux 6.1.0 (x86_64)",
        "python": "3.11.7",
        "onnxruntime": "1.32.0",
    },
    "threads": 1,
    "models": [
        {
            "model_id": DEMO_MODEL_ID,
            "flops_per_s": 140000000000.0,
            "whole_s": 0.004341,
            "spread": 0.08,
            "runs": 631,
            "run_overhead_s": 0.00042,
            "node_seconds": {
                name: float(f"{microseconds}e-6")
                for name, microseconds in (pair.split("=") for pair in _MICROSECONDS.split())
            },
        }
    ],
}

_MEASURED = PROFILE_REQUEST["models"][0]

PROFILE_ANSWER: dict[str, Any] = {
    "id": PROFILE_ID,
    "name": PROFILE_REQUEST["name"],
    "created_at": "2026-01-31T12:00:00.000000+00:00",
    "flops_per_s": 140044856023.9576,
    "machine": PROFILE_REQUEST["machine"],
    "threads": PROFILE_REQUEST["threads"],
    "models": [
        {
            **{name: part for name, part in _MEASURED.items() if name != "node_seconds"},
            "nodes": len(_MEASURED["node_seconds"]),
        }
    ],
}
