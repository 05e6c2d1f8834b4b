#!/usr/bin/env bash
# Makes virtual environments for the scripts of this folder under $PEERS_HOME (target/peers of this repository unless set):
# `torch` with NumPy and PyTorch (some 2 GB), which all scripts but one need, and, when asked for, `keras` with Keras on
# TensorFlow (1.5 GB), and `gensim` with gensim (0.3 GB). Needs Python 3.10 or later and the network. What is installed already is kept.
#
# usage: setup.sh [torch] [keras] [gensim]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${PEERS_HOME:-$here/../../target/peers}
torch=2.15.0
tensorflow=2.21.0
gensim=4.4.0

for peer in ${*:-torch}; do
  case $peer in
    torch) packages="numpy torch==$torch" test="import numpy, torch; assert torch.__version__.split('+')[0] == '$torch'" ;;
    keras) packages="tensorflow-cpu==$tensorflow" test="import keras" ;;
    gensim) packages="gensim==$gensim" test="import gensim" ;;
    *) echo "setup.sh: no such peer: $peer (torch, keras, gensim)" >&2 && exit 2 ;;
  esac
  python=$home/$peer/bin/python
  [ -x "$python" ] || python3 -m venv "$home/$peer"
  # shellcheck disable=SC2086  # several packages
  "$python" -c "$test" 2>/dev/null || "$home/$peer/bin/pip" install --quiet $packages
  echo "$python"
done
