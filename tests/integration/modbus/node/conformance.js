// Speaks to the station as modbus-serial does, and prints what it saw as one line of JSON.
const ModbusRTU = require("modbus-serial");

async function main(port) {
  const client = new ModbusRTU();
  client.setTimeout(3000);
  await client.connectTCP("127.0.0.1", { port });
  client.setID(1);
  const seen = {};
  seen.grid = (await client.readInputRegisters(1000, 28)).buffer.readFloatBE(0);
  seen.powerOn = (await client.readHoldingRegisters(2500, 12)).data;
  await client.writeRegister(2500, 30);
  await client.writeRegisters(2506, [1, 0x53d8]);
  seen.written = (await client.readHoldingRegisters(2500, 12)).data;
  const refused = async (act) => {
    try {
      await act();
      return 0;
    } catch (error) {
      return error.modbusCode === undefined ? String(error) : error.modbusCode;
    }
  };
  seen.coils = await refused(() => client.readCoils(0, 1));
  seen.outside = await refused(() => client.readInputRegisters(1028, 1));
  seen.value = await refused(() => client.writeRegister(2500, 1));
  client.setID(9);
  seen.unit = await refused(() => client.readInputRegisters(1000, 2));
  client.close(() => console.log(JSON.stringify(seen)));
}

main(Number(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
