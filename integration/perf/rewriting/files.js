// SPDX-License-Identifier: Apache-2.0
const fs = require("fs");
const begin = process.hrtime.bigint();
for (let i = 0; i < 20000; i++) fs.readFileSync("/etc/hostname");
console.log("time " + (Number(process.hrtime.bigint() - begin) / 1e6).toFixed(1) + " ms");
