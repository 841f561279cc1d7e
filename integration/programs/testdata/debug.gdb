# SPDX-License-Identifier: Apache-2.0
# Breakpoints, registers, single steps, a watchpoint and a thread. Hardware
# watchpoints are off: a cell has no debug registers.
set pagination off
set confirm off
set print thread-events off
set can-use-hw-watchpoints 0
break add if a == 3
run
backtrace
print a + b
print $rip == (long)$pc
print/x $cs
print $eflags
print half * 2
set var half = 0.25
print half * 4
stepi
stepi
next
finish
watch total
continue
info watchpoints
delete
break other
continue
print $_thread
bt 1
delete
continue
