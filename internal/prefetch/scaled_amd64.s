//go:build !purego

#include "textflag.h"

// func Scaled(base unsafe.Pointer, n uint64, shift uint8, orders []uint64)
TEXT ·Scaled(SB), NOSPLIT, $0-48
	MOVQ    base+0(FP), DI
	MOVQ    n+8(FP), R8
	MOVBLZX shift+16(FP), CX
	MOVQ    orders_base+24(FP), SI
	MOVQ    orders_len+32(FP), BX
	TESTQ   BX, BX
	JLE     done

loop:
	MOVQ        (SI), AX
	MULQ        R8
	SHLQ        CX, DX
	PREFETCHT0  (DI)(DX*1)
	ADDQ        $8, SI
	DECQ        BX
	JNZ         loop

done:
	RET

// func Bytes(address uintptr, n int)
TEXT ·Bytes(SB), NOSPLIT, $0-16
	MOVQ  address+0(FP), DI
	MOVQ  n+8(FP), BX
	TESTQ BX, BX
	JLE   end
	MOVQ  DI, AX
	ANDQ  $63, AX
	ADDQ  AX, BX
	ANDQ  $~63, DI

again:
	PREFETCHT0 (DI)
	ADDQ       $64, DI
	SUBQ       $64, BX
	JGT        again

end:
	RET

// func Places(base unsafe.Pointer, shift uint8, places []uint32)
TEXT ·Places(SB), NOSPLIT, $0-40
	MOVQ    base+0(FP), DI
	MOVBLZX shift+8(FP), CX
	MOVQ    places_base+16(FP), SI
	MOVQ    places_len+24(FP), BX
	TESTQ   BX, BX
	JLE     out

next:
	MOVL       (SI), AX
	SHLQ       CX, AX
	PREFETCHT0 (DI)(AX*1)
	ADDQ       $4, SI
	DECQ       BX
	JNZ        next

out:
	RET
