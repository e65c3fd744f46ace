#!/bin/sh
# Writes an assembler file that puts a binary file into the program as read-only data.
#   tools/embed.sh SYMBOL INPUT OUTPUT.S
set -eu
cat > "$3" <<END
.section .rodata
.hidden $1, $1_end
.globl $1, $1_end
.balign 64
$1: .incbin "$(realpath "$2")"
$1_end: .byte 0
.section .note.GNU-stack,"",%progbits
END
