@echo off
rem Windows: a double click, or install.bat [FOLDER] in a terminal.
setlocal
set "HERE=%~dp0"
for %%P in ("py -3.13" "py -3.12" "py -3.11" "python") do (
    %%~P "%HERE%install.py" --suits >nul 2>nul && (
        %%~P "%HERE%install.py" %*
        pause
        goto :eof
    )
)
echo error: no suitable Python on this computer; README.txt says which one is needed.
python "%HERE%install.py" %*
pause
