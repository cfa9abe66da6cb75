//go:build !purego && !race

#include "textflag.h"

// func clearLines(p unsafe.Pointer, lines int)
TEXT ·clearLines(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), DI
	MOVQ lines+8(FP), CX
	XORPS X0, X0
	TESTQ CX, CX
	JLE  done

loop:
	MOVNTO X0, (DI)
	MOVNTO X0, 16(DI)
	MOVNTO X0, 32(DI)
	MOVNTO X0, 48(DI)
	ADDQ   $64, DI
	DECQ   CX
	JNZ    loop
	SFENCE

done:
	RET
