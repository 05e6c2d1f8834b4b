#!/usr/bin/env bash
# Makes a virtual environment with NumPy and PyTorch for the scripts of this folder, in $PEERS_HOME (target/peers of this
# repository unless set). Needs Python 3.10 or later and the network; some 2 GB. What is installed already is kept.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${PEERS_HOME:-$here/../../target/peers}
torch=2.15.0

mkdir -p "$home"
home=$(cd "$home" && pwd)
[ -x "$home/bin/python" ] || python3 -m venv "$home"
if ! "$home/bin/python" -c "import numpy, torch; assert torch.__version__.split('+')[0] == '$torch'" 2>/dev/null; then
  "$home/bin/pip" install --quiet numpy "torch==$torch"
fi
echo "$home/bin/python"
