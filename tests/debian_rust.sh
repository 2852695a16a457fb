# Sourced by the scripts that build for another system. Debian's packages have the sources of Rust's library, from which
# the one for that system is built. As root they are installed if missing.

# Installs these packages of Debian, or ends.
install_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "these packages of Debian are needed: install ${missing[*]}, then run this again" >&2
    exit 1
  fi
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}

install_packages rustc-web cargo-web rust-web-src

# `build-std` is unstable, and these packages are made for such builds. The systems share a folder, since the macros and
# build scripts are the same. A test that waits for ever must fail, not hang.
CARGO_TARGET_DIR=$(realpath "${CARGO_TARGET_DIR:-target}")/build-std
export CARGO_TARGET_DIR
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_BUILD_WARNINGS=deny
mkdir -p "$CARGO_TARGET_DIR"
/usr/bin/cargo --version

# Runs a command of cargo for the system `$target`.
cargo_for_target() {
  timeout 2400 /usr/bin/cargo "$1" -Z build-std=std,panic_unwind -Z warnings --target "$target" --locked "${@:2}"
}
