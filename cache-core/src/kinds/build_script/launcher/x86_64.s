# The launcher of a build script, x86-64. What it does is said in launcher.rs.
#
# What follows the code, at `data`: the wrapper's path, NUL, the executable's name, NUL.
    .intel_syntax noprefix
    .text
    mov r13, [rsp]                  # argc
    lea r14, [rsp + 8]              # argv
    lea r15, [r14 + r13 * 8 + 8]    # envp
    lea rbx, [rip + data]           # the wrapper's path
    mov rbp, rbx
1:  cmp byte ptr [rbp], 0
    lea rbp, [rbp + 1]
    jne 1b                          # rbp: the executable's name

    # Whether RUSTC_WRAPPER is set and not empty.
    xor r8d, r8d
    mov rsi, r15
2:  mov rax, [rsi]
    add rsi, 8
    test rax, rax
    jz 5f
    lea rdx, [rip + variable]
3:  mov cl, [rdx]
    test cl, cl
    jz 4f
    cmp cl, [rax]
    jne 2b
    inc rdx
    inc rax
    jmp 3b
4:  cmp byte ptr [rax], 0
    je 2b
    inc r8d
    jmp 2b

    # The path that this was started by: AT_EXECFN of the auxiliary vector.
5:  mov rax, [rsi]
    test rax, rax
    jz fail
    add rsi, 16
    cmp rax, 31
    jne 5b
    mov rsi, [rsi - 8]

    # Its directory and the executable's name make the executable's path.
    sub rsp, 8192
    mov rdi, rsp
    mov r9, rdi
6:  lodsb
    stosb
    cmp al, '/'
    cmove r9, rdi
    test al, al
    jnz 6b
    mov rdi, r9
    mov rsi, rbp
7:  lodsb
    stosb
    test al, al
    jnz 7b
    mov rbp, rsp                    # the executable's path

    # wrapper argv[0] path argv[1]…
    test r8d, r8d
    jz 9f
    lea rax, [r13 * 8 + 24]
    sub rsp, rax
    mov rdi, rsp
    mov rsi, r14
    movsq
    mov [rdi], rbp
    add rdi, 8
8:  lodsq
    stosq
    test rax, rax
    jnz 8b
    mov rdi, rbx
    mov rsi, rsp
    mov rdx, r15
    mov eax, 59                     # execve
    syscall

    # There is no wrapper, or not at its place any more.
9:  mov rdi, rbp
    mov rsi, r14
    mov rdx, r15
    mov eax, 59
    syscall
fail:
    mov edi, 127
    mov eax, 231                    # exit_group
    syscall
variable:
    .asciz "RUSTC_WRAPPER="
data:
