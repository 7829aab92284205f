#!/bin/sh
# build_image.sh [TAG]: builds Kerf's image; TAG is kerf:VERSION if left out.
#
# With Docker where its daemon answers. Elsewhere with buildah, which needs none (installed as
# ensure_package.sh does): as root, in a chroot, from a base that debootstrap makes of Debian's
# packages and that takes the place of the base image which the Dockerfile names. It is kept; to have
# it made anew: buildah --storage-driver vfs rmi localhost/NAME.
#
# pip's configuration of this machine (index, proxy, certificates) goes into the build as a secret,
# so nothing of it is in the image.
set -eu

cd "$(dirname "$0")/.."
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' app/__init__.py)
tag=${1:-kerf:$version}
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)

secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
"${PYTHON:-python3}" scripts/pip_secrets.py "$secrets"

if docker info >/dev/null 2>&1; then
    docker build --secret "id=pip.conf,src=$secrets/pip.conf" \
        --secret "id=certificates,src=$secrets/certificates" --tag "$tag" .
    exit
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "no Docker daemon answers, and building without one takes root" >&2
    exit 1
fi
./scripts/ensure_package.sh buildah buildah
command -v buildah >/dev/null || exit 1

buildah() {
    command buildah --storage-driver vfs "$@"
}

# The stand-in for the base image: Debian with its own Python, without what an image has no use for.
make_base() {
    ./scripts/ensure_package.sh debootstrap debootstrap
    suite=${base##*-}
    # From where this machine has the same packages, or debootstrap's own choice.
    mirror=$(apt-get indextargets --format '$(RELEASE) $(ORIGIN) $(SITE)' 2>/dev/null |
        sed -n "s/^$suite Debian //p" | head -n 1)
    container=$(buildah from scratch)
    root=$(buildah mount "$container")
    if ! debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        "$suite" "$root" ${mirror:+"$mirror"} >"$secrets/debootstrap.log" 2>&1; then
        tail -n 20 "$secrets/debootstrap.log" >&2
        buildah rm "$container" >/dev/null
        exit 1
    fi
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
        "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* \
        "$root"/etc/resolv.conf "$root"/etc/hostname
    # Of documentation, licences are to stay with what they are about.
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    find "$root/usr/share/doc" -type d -empty -delete
    buildah umount "$container" >/dev/null
    buildah config --cmd python3 "$container"
    buildah commit --quiet --rm "$container" "localhost/$base" >/dev/null
}

if ! buildah inspect --type image "localhost/$base" >/dev/null 2>&1; then
    make_base
fi

# In Docker's format, as the other one has no place for HEALTHCHECK.
buildah bud --isolation chroot --format docker --pull-never --build-arg "BASE=localhost/$base" \
    --secret "id=pip.conf,src=$secrets/pip.conf" \
    --secret "id=certificates,src=$secrets/certificates" --tag "localhost/$tag" .
