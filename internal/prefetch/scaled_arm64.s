//go:build !purego

#include "textflag.h"

// func Scaled(base unsafe.Pointer, n uint64, shift uint8, orders []uint64)
TEXT ·Scaled(SB), NOSPLIT, $0-48
	MOVD  base+0(FP), R0
	MOVD  n+8(FP), R1
	MOVBU shift+16(FP), R2
	MOVD  orders_base+24(FP), R3
	MOVD  orders_len+32(FP), R4
	CBZ   R4, done

loop:
	MOVD.P 8(R3), R5
	UMULH  R1, R5, R6
	LSL    R2, R6, R6
	ADD    R0, R6, R6
	PRFM   (R6), PLDL1KEEP
	SUB    $1, R4
	CBNZ   R4, loop

done:
	RET

// func Bytes(address uintptr, n int)
TEXT ·Bytes(SB), NOSPLIT, $0-16
	MOVD address+0(FP), R0
	MOVD n+8(FP), R1
	CMP  $0, R1
	BLE  end
	AND  $63, R0, R2
	ADD  R2, R1, R1
	AND  $~63, R0, R0

again:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	SUBS $64, R1, R1
	BGT  again

end:
	RET

// func Places(base unsafe.Pointer, shift uint8, places []uint32)
TEXT ·Places(SB), NOSPLIT, $0-40
	MOVD  base+0(FP), R0
	MOVBU shift+8(FP), R2
	MOVD  places_base+16(FP), R3
	MOVD  places_len+24(FP), R4
	CBZ   R4, out

next:
	MOVWU.P 4(R3), R5
	LSL     R2, R5, R6
	ADD     R0, R6, R6
	PRFM    (R6), PLDL1KEEP
	SUB     $1, R4
	CBNZ    R4, next

out:
	RET
