// A relay on uWebSockets.js, as plain as its interface allows: no compression, binary messages,
// one look-up per message. Speaks what src/dialect/relay.rs describes.
'use strict';

const uws = require('@trufflesuite/uws-js-unofficial');

const HELLO = 0xffffffff;
const ALL = 0xfffffffd;
const port = Number(process.argv[2]);
const toAll = process.argv[3] === 'to-all';
const users = new Map();

uws
  .App()
  .ws('/*', {
    compression: uws.DISABLED,
    idleTimeout: 0,
    maxBackpressure: 64 * 1024 * 1024,
    maxPayloadLength: 128 * 1024,
    sendPingsAutomatically: false,
    message(socket, message) {
      const to = new DataView(message).getUint32(0, true);
      if (to === HELLO) {
        socket.user = new DataView(message).getUint32(4, true);
        users.set(socket.user, socket);
        if (toAll) {
          socket.subscribe('all');
        }
        socket.send(message.slice(0, 4), true, false);
      } else if (to === ALL) {
        socket.publish('all', message.slice(4), true, false);
      } else {
        const receiver = users.get(to);
        if (receiver !== undefined) {
          receiver.send(new Uint8Array(message, 4), true, false);
        }
      }
    },
    close(socket) {
      if (users.get(socket.user) === socket) {
        users.delete(socket.user);
      }
    },
  })
  .listen('127.0.0.1', port, (listening) => {
    if (!listening) {
      process.exit(1);
    }
  });
