#!/bin/sh
# Makes a Debian package of what was built: BUILD/vmoec_VERSION_ARCHITECTURE.deb. What it depends on
# comes from the libraries that the program and the code generator are linked with. The same build
# gives the same bytes: times in the package are that of the commit.
#
#   BUILD=build VERSION=0.1.0 scripts/deb.sh
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
: "${VERSION:?the version of the package}"
for tool in dpkg-deb dpkg-shlibdeps strip; do
    command -v $tool > /dev/null && continue
    echo "deb.sh: $tool is not installed (dpkg-dev)" >&2
    exit 3
done

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || date +%s)}
export SOURCE_DATE_EPOCH
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
mkdir -p "$root/DEBIAN" "$work/debian"
chmod 755 "$root"

DESTDIR=$root PREFIX=/usr scripts/install.sh install
strip --strip-unneeded "$root/usr/bin/vmoec" "$root/usr/libexec/vmoec/vmoec-llvm.so"
strip --strip-debug "$root/usr/lib/vmoec/kit/libvmoec-trainer.a"
find "$root/usr/share/man" -name '*.1' -exec gzip -9n {} +
install -D -m 644 LICENSE "$root/usr/share/doc/vmoec/copyright"
gzip -9nc CHANGELOG.md > "$root/usr/share/doc/vmoec/changelog.gz"

# dpkg-shlibdeps wants a source package around it, and writes a line "shlibs:Depends=..".
printf 'Source: vmoec\n\nPackage: vmoec\nArchitecture: any\n' > "$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/vmoec root/usr/libexec/vmoec/vmoec-llvm.so |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "deb.sh: no dependencies were found" >&2; exit 3; }

cat > "$root/DEBIAN/control" << END
Package: vmoec
Version: $VERSION
Architecture: $architecture
Maintainer: vmoec developers <vmoec@localhost>
Section: science
Priority: optional
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f 1)
Depends: $depends
Suggests: dataset-fashion-mnist, gcc, libjansson-dev, libxxhash-dev, zlib1g-dev, libarchive-dev,
 libturbojpeg0-dev, libspng-dev
Description: compiler for vision models with mixtures of experts
 A .vmoe file says what a network is, what it is trained on and how. vmoec
 checks it, differentiates it, compiles it to SIMD machine code and trains it,
 without Python and with the same bits for any number of threads.
END
dpkg-deb --root-owner-group --build "$root" "$BUILD/vmoec_${VERSION}_$architecture.deb" > /dev/null
echo "$BUILD/vmoec_${VERSION}_$architecture.deb"
