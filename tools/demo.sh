#!/bin/sh
# Tries the program on sample recordings from Debian packages: human voice prompts, and the same kind of
# sentences from three speech synthesisers. Prints sonde's table.
#   tools/demo.sh build/sonde
set -eu
sonde=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM

prompts=/usr/share/asterisk/sounds
mkdir "$dir/human" "$dir/synthetic"
for prompt in en_US_f_Allison/demo-congrats en_US_f_Allison/vm-options ru_RU_f_IvrvoiceRU/demo-congrats; do
  if [ -f "$prompts/$prompt.wav" ]; then
    cp "$prompts/$prompt.wav" "$dir/human/$(echo "$prompt" | tr / -).wav"
  fi
done
text="Congratulations. You have successfully installed and executed the open source telephone exchange.
  Please stay on the line, and your call will be answered by the next person who is free."
espeak-ng -w "$dir/synthetic/espeak-ng.wav" "$text"
flite -t "$text" -o "$dir/synthetic/flite.wav"
echo "$text" | text2wave -o "$dir/synthetic/festival.wav"
ffmpeg -v error -i "$dir/synthetic/flite.wav" -b:a 48k "$dir/synthetic/flite.m4a"

echo "+ sonde detect human/ synthetic/"
cd "$dir"
code=0
"$sonde" detect human synthetic || code=$?
[ $code -le 3 ] && [ $code -ne 2 ]
