//go:build !purego && !race

#include "textflag.h"

// The left shifts that bring 6-bit groups 0 to 7 to the top of a word.
DATA groups<>+0(SB)/8, $0
DATA groups<>+8(SB)/8, $6
DATA groups<>+16(SB)/8, $12
DATA groups<>+24(SB)/8, $18
DATA groups<>+32(SB)/8, $24
DATA groups<>+40(SB)/8, $30
DATA groups<>+48(SB)/8, $36
DATA groups<>+56(SB)/8, $42
GLOBL groups<>(SB), RODATA|NOPTR, $64

// SETUP loads what WANT needs. lanes, in BX, holds 0 for each group that is
// used and 64 for the others.
#define SETUP \
	VMOVDQU  groups<>+0(SB), Y8  \
	VMOVDQU  groups<>+32(SB), Y9 \
	VMOVDQU  (BX), Y10           \
	VMOVDQU  32(BX), Y11         \
	VPCMPEQQ Y12, Y12, Y12       \
	VPSRLQ   $63, Y12, Y12       \
	MOVQ     $0x9e3779b97f4a7c15, R10

// WANT puts wordMask of the order in DX into every lane of Y0. Shifting 1 by 64
// or more gives 0, so a group that is not used sets no bit. Clobbers AX, BX, Y1.
#define WANT \
	MULXQ        R10, AX, BX  \
	XORQ         AX, BX       \
	VMOVQ        BX, X0       \
	VPBROADCASTQ X0, Y0       \
	VPSLLVQ      Y9, Y0, Y1   \
	VPSLLVQ      Y8, Y0, Y0   \
	VPSRLQ       $58, Y1, Y1  \
	VPSRLQ       $58, Y0, Y0  \
	VPOR         Y11, Y1, Y1  \
	VPOR         Y10, Y0, Y0  \
	VPSLLVQ      Y1, Y12, Y1  \
	VPSLLVQ      Y0, Y12, Y0  \
	VPOR         Y1, Y0, Y0   \
	VPERM2I128   $1, Y0, Y0, Y1 \
	VPOR         Y1, Y0, Y0   \
	VPSHUFD      $0x4e, Y0, Y1 \
	VPOR         Y1, Y0, Y0

// TEST puts into AX which words of the line at R8 + R11 hold the bits in Y0: those of
// which no wanted bit is missing. Y7 is zero. Clobbers BX, Y2, Y3.
#define TEST \
	VMOVDQU   (R8)(R11*1), Y2   \
	VMOVDQU   32(R8)(R11*1), Y3 \
	VPANDN    Y0, Y2, Y2        \
	VPANDN    Y0, Y3, Y3        \
	VPCMPEQQ  Y7, Y2, Y2        \
	VPCMPEQQ  Y7, Y3, Y3        \
	VMOVMSKPD Y2, AX            \
	VMOVMSKPD Y3, BX            \
	SHLL      $4, BX            \
	ORL       BX, AX

// ARGS loads the arguments, up to lanes, that the kernels which prefetch have in common.
#define ARGS \
	MOVQ masks+48(FP), DI  \
	MOVQ orders+56(FP), SI \
	MOVQ words+72(FP), R8  \
	MOVQ lines+80(FP), R9  \
	MOVQ lanes+88(FP), BX  \
	SETUP                  \
	VPXOR Y7, Y7, Y7

// NEXTORDERS puts into CX the end of the orders beside which others are prefetched, and into
// R14 how far behind each the one is that is prefetched beside it.
#define NEXTORDERS \
	MOVQ next_orders+0(FP), R14 \
	SUBQ SI, R14                \
	MOVQ next_n+40(FP), CX      \
	LEAQ (SI)(CX*8), CX

// ALLORDERS puts into CX the end of all orders. Clobbers BX.
#define ALLORDERS \
	MOVQ orders+56(FP), CX \
	MOVQ n+64(FP), BX      \
	LEAQ (CX)(BX*8), CX

// NEXT prefetches the line and the row of the order at SI + R14. Clobbers AX, DX, R11.
#define NEXT \
	MOVQ       (SI)(R14*1), DX            \
	MULXQ      next_lines+16(FP), AX, R11 \
	MULXQ      next_rows+32(FP), AX, DX   \
	SHLQ       $6, R11                    \
	SHLQ       $5, DX                     \
	ADDQ       next_line+8(FP), R11       \
	ADDQ       next_row+24(FP), DX        \
	PREFETCHT0 (R11)                      \
	PREFETCHT0 (DX)

// MAYBE puts the mask of the order at SI where DI is, and goes on.
#define MAYBE \
	MOVQ  (SI), DX    \
	MULXQ R9, AX, R11 \
	SHLQ  $6, R11     \
	WANT              \
	TEST              \
	MOVB  AX, (DI)    \
	ADDQ  $8, SI      \
	INCQ  DI

// func maybeAVX2(next look, masks *uint8, orders *uint64, n int, words *uint64, lines uint64, lanes *[8]uint64)
TEXT ·maybeAVX2(SB), NOSPLIT, $0-96
	ARGS
	NEXTORDERS
	JMP   checkNext

withNext:
	NEXT
	MAYBE

checkNext:
	CMPQ SI, CX
	JB   withNext
	ALLORDERS
	JMP  check

loop:
	MAYBE

check:
	CMPQ SI, CX
	JB   loop
	VZEROUPPER
	RET

// ADDABSENT puts the mask of the order at SI where DI is, adds it where that is 0, and goes
// on. A key that is there is added nowhere: there is no branch to mispredict, and its
// line stays as it is.
#define ADDABSENT \
	MOVQ    (SI), DX           \
	MULXQ   R9, AX, R11        \
	SHLQ    $6, R11            \
	WANT                       \
	TEST                       \
	VMOVQ   X0, DX             \
	LEAQ    (R15)(R11*1), R11  \
	LEAQ    nowhere-8(SP), BX  \
	ORL     R12, AX            \
	ANDL    R13, AX            \
	CMOVQNE BX, R11            \
	ORQ     DX, (R11)          \
	MOVB    AX, (DI)           \
	ADDQ    $8, SI             \
	INCQ    DI

// func addAbsentAVX2(next look, masks *uint8, orders *uint64, n int, words *uint64, lines uint64, lanes *[8]uint64, slot, held, blind uint64)
TEXT ·addAbsentAVX2(SB), NOSPLIT, $8-120
	ARGS
	MOVQ  held+104(FP), R13
	MOVQ  blind+112(FP), R12
	MOVQ  slot+96(FP), R15 // not earlier: for -dynlink a global goes through it
	LEAQ  (R8)(R15*8), R15 // the slot's word of the first line
	NEXTORDERS
	JMP   checkNext

withNext:
	NEXT
	ADDABSENT

checkNext:
	CMPQ SI, CX
	JB   withNext
	ALLORDERS
	JMP  check

loop:
	ADDABSENT

check:
	CMPQ SI, CX
	JB   loop
	VZEROUPPER
	RET

// func addAVX2(column *uint64, shift uint64, orders *uint64, n int, lines uint64, lanes *[8]uint64)
TEXT ·addAVX2(SB), NOSPLIT, $0-48
	MOVQ column+0(FP), R8
	MOVQ shift+8(FP), DI
	MOVQ orders+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ lines+32(FP), R9
	MOVQ lanes+40(FP), BX
	SETUP
	LEAQ (SI)(CX*8), CX // the end of orders
	JMP  check

loop:
	MOVQ  (SI), DX
	MULXQ R9, AX, R11       // place
	SHLXQ DI, R11, R11
	WANT
	VMOVQ X0, AX
	ORQ   AX, (R8)(R11*8)
	ADDQ  $8, SI

check:
	CMPQ SI, CX
	JB   loop
	VZEROUPPER
	RET
