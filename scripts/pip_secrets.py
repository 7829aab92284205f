#!/usr/bin/env python3
"""Write pip's configuration of this machine into a directory, for the build of an image.

``pip.conf`` has what tells where packages come from and how to get there; ``certificates`` is the
file of certificates that it names, or empty. What is only on this machine is left out.
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

OPTIONS = ("index-url", "extra-index-url", "proxy", "trusted-host", "timeout", "default-timeout")
CERTIFICATES = "/run/secrets/certificates"
"""Where the build finds the second file."""


def main(directory: Path) -> None:
    """Write both files."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    options: dict[str, str] = {}
    certificates = None
    for line in listed.splitlines():
        # Such as global.index-url='...' or :env:.timeout='...'; the last one of a name counts.
        name, _, quoted = line.partition("=")
        option, value = name.rpartition(".")[2], str(ast.literal_eval(quoted))
        if option == "cert":
            certificates = value
        elif option in OPTIONS:
            kept = [word for word in value.split() if not word.startswith("file:")]
            if kept:
                options[option.removeprefix("default-")] = " ".join(kept)
    if certificates is None:
        (directory / "certificates").touch()
    else:
        shutil.copyfile(certificates, directory / "certificates")
        options["cert"] = CERTIFICATES
    lines = [f"{option} = {value}\n" for option, value in options.items()]
    (directory / "pip.conf").write_text("".join(["[global]\n", *lines]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
