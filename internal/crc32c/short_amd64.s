//go:build !purego && !race

#include "textflag.h"

// func short(crc uint32, b []byte) uint32
TEXT ·short(SB), NOSPLIT, $0-36
	MOVL crc+0(FP), AX
	MOVQ b_base+8(FP), SI
	MOVQ b_len+16(FP), CX
	NOTL AX
	SUBQ $8, CX
	JLT  tail

words:
	CRC32Q (SI), AX
	ADDQ   $8, SI
	SUBQ   $8, CX
	JGE    words

tail:
	TESTQ $4, CX // CX is 8 less than what is left: the low three bits are the same
	JZ    two
	CRC32L (SI), AX
	ADDQ   $4, SI

two:
	TESTQ $2, CX
	JZ    one
	CRC32W (SI), AX
	ADDQ   $2, SI

one:
	TESTQ $1, CX
	JZ    end
	CRC32B (SI), AX

end:
	NOTL AX
	MOVL AX, ret+32(FP)
	RET
