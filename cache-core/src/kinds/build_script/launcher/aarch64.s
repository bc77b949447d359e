// The launcher of a build script, AArch64. What it does is said in launcher.rs.
//
// What follows the code, at `data`: the wrapper's path, NUL, the executable's name, NUL.
    .text
    ldr x20, [sp]                   // argc
    add x21, sp, #8                 // argv
    add x22, x21, x20, lsl #3
    add x22, x22, #8                // envp
    adr x19, data                   // the wrapper's path
    mov x23, x19
1:  ldrb w9, [x23], #1
    cbnz w9, 1b                     // x23: the executable's name

    // Whether RUSTC_WRAPPER is set and not empty.
    mov w24, #0
    mov x1, x22
2:  ldr x9, [x1], #8
    cbz x9, 5f
    adr x10, variable
3:  ldrb w11, [x10], #1
    cbz w11, 4f
    ldrb w12, [x9], #1
    cmp w11, w12
    b.eq 3b
    b 2b
4:  ldrb w12, [x9]
    cbz w12, 2b
    mov w24, #1
    b 2b

    // The path that this was started by: AT_EXECFN of the auxiliary vector.
5:  ldp x9, x10, [x1], #16
    cbz x9, fail
    cmp x9, #31
    b.ne 5b

    // Its directory and the executable's name make the executable's path.
    sub sp, sp, #8192
    mov x0, sp
    mov x11, x0
6:  ldrb w9, [x10], #1
    strb w9, [x0], #1
    cmp w9, #'/'
    csel x11, x0, x11, eq
    cbnz w9, 6b
7:  ldrb w9, [x23], #1
    strb w9, [x11], #1
    cbnz w9, 7b
    mov x25, sp                     // the executable's path

    // wrapper argv[0] path argv[1]…
    cbz w24, 9f
    add x9, x20, #4
    lsl x9, x9, #3
    and x9, x9, #-16
    sub x10, x25, x9
    mov sp, x10
    mov x0, x10
    mov x1, x21
    ldr x9, [x1], #8
    stp x9, x25, [x0], #16
8:  ldr x9, [x1], #8
    str x9, [x0], #8
    cbnz x9, 8b
    mov x0, x19
    mov x1, x10
    mov x2, x22
    mov x8, #221                    // execve
    svc #0

    // There is no wrapper, or not at its place any more.
9:  mov x0, x25
    mov x1, x21
    mov x2, x22
    mov x8, #221
    svc #0
fail:
    mov x0, #127
    mov x8, #94                     // exit_group
    svc #0
variable:
    .asciz "RUSTC_WRAPPER="
data:
