/* Starts a program, sends its console Ctrl-C when a file exists, and ends with the program's exit code.
   Usage: ctrl_c.exe FILE PROGRAM ARGUMENT... */
#include <stdio.h>
#include <wchar.h>
#include <windows.h>

int wmain(int argc, wchar_t **argv) {
    wchar_t line[8192] = L"";
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    DWORD code = 1;
    if (argc < 3) return 64;
    for (int i = 2; i < argc; i++) {
        wcscat(line, L"\"");
        wcscat(line, argv[i]);
        wcscat(line, L"\" ");
    }
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process)) {
        fprintf(stderr, "cannot start it: error %lu\n", GetLastError());
        return 65;
    }
    while (GetFileAttributesW(argv[1]) == INVALID_FILE_ATTRIBUTES)
        if (WaitForSingleObject(process.hProcess, 20) == WAIT_OBJECT_0) return 66;
    SetConsoleCtrlHandler(NULL, TRUE);
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) {
        fprintf(stderr, "cannot send Ctrl-C: error %lu\n", GetLastError());
        TerminateProcess(process.hProcess, 67);
    }
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}
