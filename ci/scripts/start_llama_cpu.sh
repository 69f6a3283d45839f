#!/usr/bin/env bash
# Starts the provisioned llama-server alone, on the CPU with the small model, for trials by hand.
#
#   start_llama_cpu.sh [PORT]      listens on 127.0.0.1:PORT (8081) until Ctrl-C
#
# LLORCH_TEST_LLAMA_SERVER names another server. Nothing of llama-orch runs in front of it.
set -euo pipefail
cd "$(dirname "$0")/../.."

port=${1:-8081}
if [[ ! $port =~ ^[0-9]+$ || $# -gt 1 ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0"
  [[ $# == 1 && ($1 == --help || $1 == -h) ]] && exit
  exit 2
fi
server=${LLORCH_TEST_LLAMA_SERVER:-}
if [[ -z $server ]]; then
  server=$(cargo run --quiet --package pool-managerd -- provision --print-path \
    --config contracts/config-schema/examples/cpu-ci.yaml)
fi
echo "http://127.0.0.1:$port/completion" >&2
exec "$server" --model test-harness/tiny-model/haiku-tiny-q8_0.gguf --host 127.0.0.1 \
  --port "$port" --threads 1 --ctx-size 512 --parallel 1 --device none --offline
