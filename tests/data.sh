# Small data sets that suites make by hand; read by them.

be32() {
    for at in 24 16 8 0; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $(($1 >> at & 255)))"
    done
}
pixels() { yes '#vmoec: some pixels, none of them random.!' | tr -d '\n' | head -c "$1"; }
images() { printf '\0\0\10\3'; be32 "$1"; be32 8; be32 8; pixels $(($1 * 64)); }
labels() { printf '\0\0\10\1'; be32 "$1"; yes "$2" | head -n "$1" | tr -d '\n' \
    | tr '0-9' '\0-\11'; }
fours() { printf '\0\0\10\1'; be32 "$1"; yes 0123 | tr -d '\n' | head -c "$1" | tr '0-9' '\0-\11'; }
dataset() {
    mkdir -p "$1"
    images 70 > "$1/train-images-idx3-ubyte"
    fours 70 > "$1/train-labels-idx1-ubyte"
    images 21 > "$1/t10k-images-idx3-ubyte"
    fours 21 > "$1/t10k-labels-idx1-ubyte"
}
# PNG files of 8 x 8 in one colour each.
picture() {
    case $1 in
    red) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mM4ISeHFTEMLQkAkL9BAc9woTwAAAAASUVORK5CYII= ;;
    green) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mOQOyGHFTEMLQkAZj9BAZFjH9cAAAAASUVORK5CYII= ;;
    blue) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mOQkzuBFTEMLQkAO79BAQ68oXkAAAAASUVORK5CYII= ;;
    white) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0 \
        lEQVR42mM4gQMwDC0JAJwulgEYko6kAAAAAElFTkSuQmCC ;;
    esac | base64 -d
}
pictures() { # DIR: a class per colour
    for colour in red green blue white; do
        mkdir -p "$1/train/$colour" "$1/test/$colour"
        for i in 0 1 2 3 4 5; do picture $colour > "$1/train/$colour/$i.png"; done
        picture $colour > "$1/test/$colour/0.png"
    done
}
