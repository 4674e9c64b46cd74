// Stock clients that upgrade while the server sends numbered `beat`s to everyone; a line for each, told "in order" when
// it heard every number once and in order before, during and after its upgrade:
//   node upgrading.mjs URL TOKEN ROUNDS
import { createRequire } from "node:module";

const { io } = createRequire(new URL("../../clients/", import.meta.url))("socket.io-client");
const [url, token, rounds] = process.argv.slice(2);
const AFTERWARDS = 200;

const play = () =>
  new Promise((resolve, reject) => {
    const socket = io(`${url}/echo`, { auth: { token }, reconnection: false, forceNew: true });
    const numbers = [];
    let enough = Infinity;
    socket.io.on("open", () => socket.io.engine.once("upgrade", () => (enough = numbers.length + AFTERWARDS)));
    socket.on("connect_error", reject);
    socket.on("disconnect", reject);
    socket.on("beat", ({ number }) => {
      numbers.push(number);
      if (numbers.length < enough) return;
      socket.off("disconnect");
      socket.close();
      resolve(numbers);
    });
  });

for (let round = 0; round < Number(rounds); round += 5) {
  for (const numbers of await Promise.all(Array.from({ length: 5 }, play))) {
    const gap = numbers.findIndex((number, index) => number !== numbers[0] + index);
    console.log(gap < 0 ? `${numbers.length} in order` : `after ${numbers[gap - 1]} came ${numbers[gap]}`);
  }
}
