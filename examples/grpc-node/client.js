#!/usr/bin/env node
// Runs a job through runner-gateway, follows its output, asks how it ended, and exits as it did.
//
//     npm ci
//     CA=ca.crt CERT=alice.crt KEY=alice.key node client.js localhost:7444 make -j4
//
// The protos are read as they are; PROTOS names another folder than the one of this checkout.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTOS = process.env.PROTOS || path.join(__dirname, '..', '..', 'gateway', 'proto');
const USAGE = 'usage: CA=ca.crt CERT=client.crt KEY=client.key node client.js HOST:PORT COMMAND [ARGUMENT]...';

function connect(address) {
  const definition = protoLoader.loadSync('runnerd/worker/v1/worker.proto', {
    includeDirs: [PROTOS],
    keepCase: true,
    enums: String,
    longs: Number,
    defaults: true,
    oneofs: true,
  });
  const {Worker} = grpc.loadPackageDefinition(definition).runnerd.worker.v1;
  const [ca, cert, key] = ['CA', 'CERT', 'KEY'].map((name) => fs.readFileSync(process.env[name]));
  return new Worker(address, grpc.credentials.createSsl(ca, key, cert));
}

// A call with one answer, as a promise.
function ask(client, method, request) {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    client[method](request, {deadline}, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main(address, command, args) {
  const client = connect(address);
  try {
    const {id, status} = await ask(client, 'Start', {command, args});
    console.error(`job ${id}: ${status}`);
    for await (const {data, missing_bytes: missing} of client.Output({id})) {
      if (missing) console.error(`${missing} bytes of output are not there`);
      process.stdout.write(data);
    }
    const end = await ask(client, 'Status', {id});
    console.error(`job ${id}: ${end.status} (${end.reason})`);
    if (end.status === 'STATUS_COMPLETED') return 0;
    return end.exit_code || 1;
  } finally {
    client.close();
  }
}

const [address, command, ...args] = process.argv.slice(2);
if (!command || !process.env.CA || !process.env.CERT || !process.env.KEY) {
  console.error(USAGE);
  process.exitCode = 2;
} else {
  main(address, command, args).then(
    (code) => { process.exitCode = code; },
    (error) => {
      console.error(`${address}: ${error.details || error.message}`);
      process.exitCode = 1;
    },
  );
}
