#!/usr/bin/env bash
# Fetches a general model for the GPU and release gates, or checks that a file is one.
#
#   fetch_model.sh FOLDER          Qwen2.5-0.5B-Instruct Q4_K_M, else TinyLlama 1.1B; prints it
#   fetch_model.sh --check FILE    succeeds if FILE is one of the two
#
# A file counts by its digest, never by its name or its source.
set -euo pipefail

# sha256, file, address. The first that can be fetched is taken.
MODELS=(
  "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db qwen2.5-0.5b-instruct-q4_k_m.gguf https://huggingface.co/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/9217f5db79a29953eb74d5343926648285ec7e67"
  "9fecc3b3cd76bba89d504f29b616eedf7da85b96540e490ca5824d3f7d2776a0 tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf https://huggingface.co/TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF/resolve/52e7645ba7c309695bec7ac98f4f005b139cf465"
)

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0"
}

refuse() {
  echo "fetch_model.sh: $1" >&2
  exit "${2:-1}"
}

digest_of() {
  local sum
  sum=$(sha256sum -- "$1")
  echo "${sum%% *}"
}

check() {
  [[ -f $1 ]] || refuse "$1 is no file"
  local digest model
  digest=$(digest_of "$1")
  for model in "${MODELS[@]}"; do
    [[ $model == "$digest "* ]] && return
  done
  refuse "$1 is no general model that counts (sha256 $digest): fetch one with fetch_model.sh FOLDER"
}

# Leaves nothing under the final name but a whole file of the right digest.
fetch() {
  local folder=$1 digest=$2 file=$3 address=$4 found
  local whole=$folder/$file part=$folder/.$file.part
  if [[ -f $whole && $(digest_of "$whole") == "$digest" ]]; then
    return 0
  fi
  echo "fetching $address/$file" >&2
  curl --fail --location --proto '=https' --proto-redir '=https' --retry 3 --continue-at - \
    --output "$part" "$address/$file" >&2 || return 1
  found=$(digest_of "$part")
  if [[ $found != "$digest" ]]; then
    rm -f -- "$part"
    echo "fetch_model.sh: $file has the digest $found instead of $digest; it was removed" >&2
    return 1
  fi
  mv -- "$part" "$whole"
}

case "${1:-} $#" in
  "--help 1" | "-h 1") usage ;;
  "--check 2") check "$2" ;;
  -* | " 0") usage >&2; exit 2 ;;
  *" 1")
    mkdir -p -- "$1"
    for model in "${MODELS[@]}"; do
      read -r digest file address <<<"$model"
      if fetch "$1" "$digest" "$file" "$address"; then
        realpath -- "$1/$file"
        exit
      fi
    done
    refuse "neither model could be fetched"
    ;;
  *) usage >&2; exit 2 ;;
esac
